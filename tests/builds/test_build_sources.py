"""Sources from git, archives and files, and what keeps them: seen from a stranger's element."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workshop

pytestmark = [
    pytest.mark.builds,
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root here"),
    pytest.mark.skipif(not shutil.which("git"), reason="needs git"),
    pytest.mark.skipif(not shutil.which("curl"), reason="needs curl"),
]
MANIFEST = "etc/dib-manifests/dib-manifest-git-out"


def git(where: Path, *words: str) -> str:
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    done = subprocess.run(
        ["git", *identity, "-C", str(where), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(where: Path, text: str) -> str:
    (where / "file").write_text(f"{text}\n")
    git(where, "add", "file")
    git(where, "commit", "--quiet", "-m", text)
    return git(where, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with two branches, a tag, and a change that no branch leads to."""
    path = tmp_path / "origin"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch", "master")
    commit(path, "first")
    git(path, "tag", "-a", "-m", "one", "1.0")
    commit(path, "second")
    git(path, "checkout", "--quiet", "-b", "stable/one", "1.0")
    commit(path, "stable")
    git(path, "checkout", "--quiet", "--detach")
    change = commit(path, "change")
    git(path, "update-ref", "refs/changes/23/123/4", change)
    git(path, "checkout", "--quiet", "master")
    return path


def build(workshop: Workshop, line: str, *words: str, **variables: str) -> tuple[int, str]:
    """The status and the log of a build whose one source is `line`."""
    workshop.element("app", {"element-deps": "source-repositories\n"})
    workshop.element("app", {"source-repository-app": f"# the application\n\n{line}"})
    workshop.element("packages", {"bin/install-packages": "#!/bin/bash\necho installing $*\n"})
    variables = {"OVERWRITE_OLD_IMAGE": "1", "SOURCE_REPOSITORIES_PAUSE": "0", **variables}
    done = workshop.create("-n", "-t", "tar", "-o", "out", *words,
                           "tiny", "app", "packages", **variables)  # fmt: skip
    return done.returncode, done.stdout


def content(workshop: Workshop, name: str) -> str:
    with tarfile.open(workshop.directory / "out.tar") as tar:
        member = tar.extractfile(f"./{name}")
        assert member
        return member.read().decode()


REFS = {
    "": "second",
    "stable/one": "stable",
    "refs/heads/stable/one": "stable",
    "1.0": "first",
    "refs/changes/23/123/4": "change",
    "HEAD": "second",
    "*": "second",
}


def test_a_git_ref_is_what_lies_in_the_image(workshop: Workshop, origin: Path) -> None:
    lines = [f"app{n} git /opt/app{n} {origin} {ref}\n" for n, ref in enumerate(REFS)]
    status, log = build(workshop, "".join(lines))
    assert status == 0, log
    manifest = content(workshop, MANIFEST).splitlines()
    for n, (ref, expected) in enumerate(REFS.items()):
        assert content(workshop, f"opt/app{n}/file") == f"{expected}\n"
        wanted = ref if ref not in ("", "*") else "master"
        sha = git(origin, "rev-parse", f"{wanted}^{{commit}}")
        if ref != "*":
            branch = f"opt/app{n}/.git/refs/heads/fetch_{wanted}"
            assert content(workshop, branch) == f"{sha}\n"
        assert manifest[n] == f"app{n} git /opt/app{n} {origin} {sha}"
    destinations = content(workshop, "etc/dib-source-repositories").split()
    assert destinations == [f"/opt/app{n}" for n in range(len(REFS))]


@pytest.mark.parametrize("place", [".gitconfig", ".config/git/config", "GIT_CONFIG_GLOBAL"])
def test_the_users_configuration_of_git_counts(
    workshop: Workshop, origin: Path, tmp_path: Path, place: str
) -> None:
    file = tmp_path / "home" / place
    file.parent.mkdir(parents=True)
    file.write_text(f'[url "file://{tmp_path}/"]\n\tinsteadOf = https://nowhere.invalid/\n')
    variables = {"HOME": str(tmp_path / "home")}
    if place == "GIT_CONFIG_GLOBAL":
        variables[place] = str(file)
    line = f"app git /opt/app https://nowhere.invalid/{origin.name}\n"
    status, log = build(workshop, line, **variables)
    assert status == 0, log
    assert content(workshop, "opt/app/file") == "second\n"


def test_a_commit_is_found_through_the_branches(workshop: Workshop, origin: Path) -> None:
    sha = git(origin, "rev-list", "-1", "1.0")
    for given in (sha, sha[:12]):
        status, log = build(workshop, f"app git /opt/app {origin} {given}\n")
        assert status == 0, log
        assert content(workshop, MANIFEST).endswith(f" {sha}\n")


def test_variables_win_over_the_line(workshop: Workshop, origin: Path) -> None:
    workshop.element("refs", {"environment.d/50-refs": "export OF_ENVIRONMENT=stable/one\n"})
    line = "app-1.x git /opt/app https://nowhere.invalid/app $OF_ENVIRONMENT"
    status, log = build(workshop, line, "refs", DIB_REPOLOCATION_app_1_x=str(origin))
    assert status == 0, log
    assert content(workshop, "opt/app/file") == "stable\n"
    status, log = build(workshop, line, "refs", DIB_REPOLOCATION_app_1_x=f"file://{origin}",
                        DIB_REPOREF_app_1_x="1.0")  # fmt: skip
    assert status == 0, log
    assert content(workshop, "opt/app/file") == "first\n"


def test_the_base_of_all_git_locations_can_be_replaced(workshop: Workshop, origin: Path) -> None:
    line = "app git /opt/app https://nowhere.invalid/origin\n"
    status, log = build(workshop, line, DIB_GITREPOBASE=f"file://{origin.parent}/")
    assert status == 0, log
    assert content(workshop, "opt/app/file") == "second\n"


def test_a_branch_that_moved_is_fetched_again_unless_offline(
    workshop: Workshop, origin: Path
) -> None:
    line = f"app git /opt/app {origin}\n"
    for _ in range(2):
        status, log = build(workshop, line)
        assert status == 0, log
    commit(origin, "third")
    status, log = build(workshop, line, "--offline")
    assert status == 0, log
    assert content(workshop, "opt/app/file") == "second\n"
    assert build(workshop, line)[0] == 0
    assert content(workshop, "opt/app/file") == "third\n"


def test_a_damaged_clone_is_made_again_but_not_offline(workshop: Workshop, origin: Path) -> None:
    line = f"app git /opt/app file://{origin}\n"
    assert build(workshop, line)[0] == 0
    (pack,) = (workshop.directory / ".cache").rglob("source-repositories/**/*.pack")
    pack.chmod(0o644)
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-40] + bytes((whole[-40] ^ 1,)) + whole[-39:])
    status, log = build(workshop, line, "--offline")
    assert status == 1, log
    assert f"the kept clone of file://{origin} is damaged" in log
    status, log = build(workshop, line)
    assert status == 0, log
    assert "is damaged, and is made again" in log
    assert content(workshop, "opt/app/file") == "second\n"


def test_the_image_shares_no_file_with_the_cache(workshop: Workshop, origin: Path) -> None:
    workshop.element("owner", {"install.d/50-owner": "chmod -R a-w /opt/app; chmod -R 777 /opt\n"})
    line = f"app git /opt/app {origin}\n"
    assert build(workshop, line, "owner")[0] == 0
    cache = workshop.directory / ".cache/image-create/source-repositories"
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if path.stat().st_mode & 0o002]


@pytest.mark.parametrize(
    ("line", "variables", "said"),
    [
        ("app git /opt/app ORIGIN no-such", {}, ("no 'no-such'", "DIB_REPOREF_app")),
        ("app git /opt/app /no/such/repository", {}, ("cannot be cloned", "attempt 4 failed")),
        ("app svn /opt/app ORIGIN", {}, ("the type is 'svn'", "git, tar, file or package")),
        ("app git opt/app ORIGIN", {}, ("'opt/app' is not absolute",)),
        ("app git /opt/app", {}, ("there is no location", "DIB_REPOLOCATION_app")),
        ("app package", {}, ("a package is not a source", "DIB_INSTALLTYPE_app=package")),
        ("app file /opt/app file:///no/such/file", {}, ("/no/such/file",)),
    ],
)
def test_a_source_that_cannot_be_had_is_said(
    workshop: Workshop, origin: Path, line: str, variables: dict[str, str], said: tuple[str, ...]
) -> None:
    status, log = build(
        workshop, line.replace("ORIGIN", str(origin)), CACHE_URL_PAUSE="0", **variables
    )
    assert status != 0
    assert all(text in log for text in said), log
    assert "app" in log.rsplit("error: ", 1)[-1]


def test_other_install_types_and_a_switch_leave_sources_out(
    workshop: Workshop, origin: Path
) -> None:
    line = f"app git /opt/app {origin}\n"
    status, log = build(workshop, line, DIB_INSTALLTYPE_app="package")
    assert status == 0, log
    assert "app install type not set to source" in log
    status, log = build(workshop, line, "--install-type", "package", DIB_INSTALLTYPE_app="source")
    assert status == 0, log
    assert content(workshop, "opt/app/file") == "second\n"
    status, log = build(workshop, line, NO_SOURCE_REPOSITORIES="1")
    assert status == 0, log
    assert "nothing is fetched" in log


def archive(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in ("one/a", "one/sub/b", "two/c"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))


PARTS = {
    "": {"a", "sub/b", "c"},
    "*": {"a", "sub/b", "c"},
    ".": {"one/a", "one/sub/b", "two/c"},
    "one/sub": {"b"},
}


def test_a_part_of_an_archive(workshop: Workshop, tmp_path: Path) -> None:
    archive(tmp_path / "app.tar.gz")
    url = f"file://{tmp_path}/app.tar.gz"
    lines = [f"app{n} tar /opt/app{n} {url} {ref}\n" for n, ref in enumerate(PARTS)]
    status, log = build(workshop, "".join(lines))
    assert status == 0, log
    with tarfile.open(workshop.directory / "out.tar") as tar:
        files = {member.name for member in tar.getmembers() if member.isfile()}
    for n, expected in enumerate(PARTS.values()):
        top = f"./opt/app{n}/"
        assert {name.removeprefix(top) for name in files if name.startswith(top)} == expected


def test_a_file_goes_to_its_path_and_is_kept_for_offline_builds(
    workshop: Workshop, tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("one\n")
    line = f"app file /opt/app/notes.txt file://{tmp_path}/notes"
    assert build(workshop, line)[0] == 0
    assert content(workshop, "opt/app/notes.txt") == "one\n"
    (tmp_path / "notes").unlink()
    status, log = build(workshop, line, "--offline")
    assert status == 0, log
    assert content(workshop, "opt/app/notes.txt") == "one\n"
