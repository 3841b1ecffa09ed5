"""Which builds have their disk attached, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imagebuilder.errors import ConfigError
from imagebuilder.options import parse
from imagebuilder.plan import make, show
from imagebuilder.plan.model import Draft

FILES = {
    "tiny/element-provides": "operating-system\n",
    "tiny/root.d/10-tiny": "#!/bin/bash\n",
    "names/finalise.d/50-boot": "#!/bin/bash\nBOOT_DEV=$IMAGE_BLOCK_DEVICE\n",
    "lists/cleanup.d/50-all": '#!/bin/bash\neval D=( "${IMAGE_BLOCK_DEVICES}" )\n',
    "remarks/finalise.d/50-not": "#!/bin/bash\n# IMAGE_BLOCK_DEVICE is not used here\ntrue\n",
    "similar/finalise.d/51-not": "#!/bin/bash\necho $MY_IMAGE_BLOCK_DEVICE\n",
    "early/install.d/50-early": "#!/bin/bash\necho ${IMAGE_BLOCK_DEVICE:-none}\n",
    "says/element.yaml": "attached-disk: true\n",
}
THIN = """\
- local_loop: {name: image0}
- lvm:
    name: lvm
    pvs: [{name: pv, base: image0}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
      - {name: pool, base: vg, type: thin-pool, size: 100MiB}
      - {name: one, base: vg, type: thin, thin-pool: pool, size: 100MiB}
- mkfs: {name: mkfs_root, base: one, mount: {mount_point: /}}
"""
Drafted = Callable[..., Draft]


@pytest.fixture
def drafted(tmp_path: Path) -> Drafted:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def draft(*words: str, **environment: str) -> Draft:
        given = ("-n", "tiny", *words)
        return make.draft(parse(given, {"ELEMENTS_PATH": str(tmp_path), **environment}))

    return draft


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("names",), "finalise.d/50-boot of element names names IMAGE_BLOCK_DEVICE"),
        (("lists",), "cleanup.d/50-all of element lists names IMAGE_BLOCK_DEVICE"),
        (("says",), "element says asks for it"),
        (("--attached", "names"), "it was asked for (--attached)"),
        (("remarks", "similar", "early"), ""),
        ((), ""),
    ],
)
def test_the_reason_is_told(drafted: Drafted, words: tuple[str, ...], why: str) -> None:
    draft = drafted(*words)
    assert draft.attached == why
    text = show.text(make.finish(draft, draft.variables), {})
    assert (f"attached: {why}" in text) == bool(why)


def test_a_variable_asks_for_it(drafted: Drafted) -> None:
    assert drafted(IMAGEBUILDER_ATTACHED="1").attached
    assert not drafted(IMAGEBUILDER_ATTACHED="0").attached


def test_a_thin_root_cannot_be_attached(drafted: Drafted) -> None:
    assert drafted(DIB_BLOCK_DEVICE_CONFIG=THIN).disk.volumes
    with pytest.raises(ConfigError) as caught:
        drafted("names", DIB_BLOCK_DEVICE_CONFIG=THIN)
    assert str(caught.value) == (
        "filesystem mkfs_root: a thin volume cannot be attached, and finalise.d/50-boot of element"
        " names names IMAGE_BLOCK_DEVICE\n  hint: use volumes without a pool"
    )


def test_the_plan_shows_volumes(drafted: Drafted) -> None:
    draft = drafted(DIB_BLOCK_DEVICE_CONFIG=THIN)
    plan = make.finish(draft, draft.variables)
    assert "  volume group vg on pv\n    pool         100 MiB thin-pool\n" in show.text(plan, {})
    assert '"group": "vg"' in show.as_json(plan, {})
