"""Plans every image of a batch before any is built: what is refused, is refused here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder.batch import room, shared
from imagebuilder.batch.load import Image
from imagebuilder.batch.schedule import Job
from imagebuilder.build import check, layers
from imagebuilder.build.prepare import look_ahead
from imagebuilder.build.scratch import base_of
from imagebuilder.cache.store import Store
from imagebuilder.errors import BuildError, ConfigError, Interrupted
from imagebuilder.options import SHARED_PACKAGES, Request, cache_directory, parse
from imagebuilder.plan import digest, make
from imagebuilder.plan.model import Draft, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An image that can be built: its whole environment, its outputs, and what it takes."""

    image: Image
    environment: Mapping[str, str]
    outputs: tuple[Path, ...]
    job: Job
    secrets: frozenset[str] = frozenset()  # values never to be shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Images with one root tree, and the packages of its bootstrap, which would differ else."""

    images: tuple[str, ...]
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tasks in the order of the file; `roots` are the layers that several of them begin with."""

    tasks: tuple[Task, ...]
    roots: Mapping[str, tuple[Store, str]]  # by group: the store, and the key in it
    sharing: tuple[Sharing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    image: Image
    request: Request
    plan: Plan


def prepare(images: Sequence[Image], environment: Mapping[str, str]) -> Batch:
    """Plan all images; raise BuildError, with file and image, at the first that cannot be built."""
    drafts = [_draft(image, environment) for image in images]
    planned = [_plan(image, draft) for image, draft in zip(images, drafts, strict=True)]
    _check_outputs(planned)
    names = shared.groups([each.plan for each in planned])
    common = shared.packages([each.plan for each in planned], names)
    pairs = zip(planned, names, strict=True)
    planned = [_sharing(each, common.get(name, ())) for each, name in pairs]
    groups = [_root(each, name) for each, name in zip(planned, names, strict=True)]
    return Batch(
        tasks=tuple(_task(each, group) for each, group in zip(planned, groups, strict=True)),
        roots=_roots(planned, groups),
        sharing=tuple(_told(planned, packages) for packages in common.values()),
    )


@contextmanager
def blamed(image: Image) -> Generator[None, None, None]:
    """Say of an error which image it is about, and where that is."""
    try:
        yield
    except Interrupted:
        raise
    except BuildError as error:
        place = f"{image.where}: image {image.name}"
        error.where = f"{place}: {error.where}" if error.where else place
        raise


def _draft(image: Image, environment: Mapping[str, str]) -> Draft:
    """What is known of an image before any namespace is entered, which some checks look at."""
    with blamed(image):
        given = {**environment, **image.environment}
        request = parse(image.words, given, ramdisk=image.ramdisk)
        draft = make.draft(request)
        check.before(draft)
        base_of(request)
        _check_logfile(request)
    return draft


def _plan(image: Image, draft: Draft) -> _Planned:
    with blamed(image):
        plan, _ = look_ahead(draft, outside=False)
    return _Planned(image=image, request=draft.request, plan=plan)


def _check_logfile(request: Request) -> None:
    parent = Path(request.logfile).parent
    if not parent.is_dir():
        raise ConfigError(
            f"there is no directory {parent}",
            where=f"--logfile {request.logfile}",
            hint=f"mkdir -p {parent}",
        )


def _check_outputs(planned: Sequence[_Planned]) -> None:
    """Refuse two images that would write the same file."""
    writers: dict[Path, Image] = {}
    for each in planned:
        for output in check.outputs(each.plan.draft, epoch=0):
            path = output.path.absolute()
            other = writers.setdefault(path, each.image)
            if other is not each.image:
                with blamed(each.image):
                    raise ConfigError(
                        f"writes {output.path}, as the image {other.name} does",
                        hint="give them names that differ in more than the suffix",
                    )


def _sharing(planned: _Planned, packages: tuple[str, ...]) -> _Planned:
    """The same image with no other packages in the bootstrap than those."""
    early = tuple(name for name in planned.plan.early if name in packages)
    if not early or early == planned.plan.early:
        return planned
    environment = {**planned.request.environment, SHARED_PACKAGES: " ".join(packages)}
    request = replace(planned.request, environment=environment)
    return replace(planned, request=request, plan=replace(planned.plan, early=early))


def _told(planned: Sequence[_Planned], packages: tuple[str, ...]) -> Sharing:
    images = tuple(each.image.name for each in planned if each.plan.early == packages)
    return Sharing(images=images, packages=packages)


def _root(planned: _Planned, group: str) -> str:
    """What images have in common that wait for each other's root tree; empty: they do not."""
    request = planned.request
    if not group or request.no_cache or request.refresh:
        return ""
    return "\n".join((group, *planned.plan.early, str(cache_directory(request).absolute())))


def _roots(planned: Sequence[_Planned], groups: Sequence[str]) -> Mapping[str, tuple[Store, str]]:
    """The layers of the root trees that several images share."""
    several = {group for group, number in Counter(groups).items() if group and number > 1}
    firsts = {group: planned[groups.index(group)] for group in sorted(several)}
    return {group: _layer(first) for group, first in firsts.items()}


def _layer(planned: _Planned) -> tuple[Store, str]:
    with blamed(planned.image):
        plan, outside = look_ahead(make.draft(planned.request))
    return layers.store_of(plan), digest.chain(plan, outside.digests)[0].id


def _task(planned: _Planned, group: str) -> Task:
    outputs = tuple(output.path for output in check.outputs(planned.plan.draft, epoch=0))
    with blamed(planned.image):
        job = room.job(planned.image.name, group, planned.request, outputs)
        room.check(job)
        return Task(
            image=planned.image,
            environment=planned.request.environment,
            outputs=outputs,
            job=job,
            secrets=planned.plan.secrets,
        )
