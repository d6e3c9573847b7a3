"""Commands of research: science on synthetic data, study on real data."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from scpo.commands.options import Out, in_home, local_path, say, split_names
from scpo.text.terminal import console

_STUDIES = ("study", "study-whole")  # those that come with the package


def science(
    study: Annotated[str, Argument(help="truth (test the claims) or map (where SCPO helps).")],
    out: Out,
    size: Annotated[str, Option(help="small (seconds) or large (as published).")] = "small",
    workers: Annotated[int, Option(min=1, help="Number of processes.")] = 2,
) -> None:
    """Study SCPO on synthetic data.

    An interrupted study resumes from its output folder.
    """
    from sweeps.research.run_worlds import show_map, show_truth

    studies = {"truth": show_truth, "map": show_map}
    if study not in studies:
        raise ValueError(f"study must be of {', '.join(studies)}, but got {study!r}.")
    from scpo.files.output_folder import output_folder

    with output_folder(out, study, size, overwrite=None):
        for shown in studies[study](out, size, say, workers):
            console.print(shown)


def study(
    config: Annotated[
        Path,
        Argument(help=f"YAML file, or a name: {' or '.join(_STUDIES)}.", callback=in_home),
    ],
    out: Out,
    only: Annotated[str, Option(help="Data sets, comma-separated; default: all.")] = "",
    page: Annotated[
        Path | None, Option(help="Page to write; default: in OUT.", callback=local_path)
    ] = None,
    workers: Annotated[
        int | None, Option(min=1, help="Parallel trainings; default: all cores.")
    ] = None,
) -> None:
    """Compare all arms on real data, and write a page.

    An interrupted study resumes from its output folder.
    """
    from scpo.files.output_folder import output_folder

    config = _find_study(config)
    with output_folder(out, "study", keep=[config]):
        from sweeps.research.run_study import run_study

        results = run_study(config, out, say, only=split_names(only), page=page, workers=workers)
    done = ", ".join(result.title for result in results)
    console.print(f"Written: {page or out / 'STUDY.md'}, {out / 'study.csv'} ({done})")


def _find_study(config: Path) -> Path:
    """Return the file of a study, given its path or the name of one of the package's."""
    if config.is_file() or config.suffix or config.name != str(config):
        return config
    if config.name not in _STUDIES:
        raise FileNotFoundError(
            f"No study {config.name!r}: there is no such file, and the package has "
            f"{', '.join(_STUDIES)}."
        )
    from sweeps.api.configurations import find_configuration

    found, here = find_configuration(config), Path.cwd()
    # The study's page names its file.
    return found.relative_to(here) if found.is_relative_to(here) else found
