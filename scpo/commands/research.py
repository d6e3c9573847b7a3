"""Commands of research: science on synthetic data, study on real data."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from scpo.commands.options import Out, local_path, say, split_names
from scpo.commands.sweep import ConfigFile
from scpo.text.terminal import console


def science(
    study: Annotated[str, Argument(help="truth (test the claims) or map (where SCPO helps).")],
    out: Out,
    size: Annotated[str, Option(help="small (seconds) or large (as published).")] = "small",
    workers: Annotated[int, Option(help="Number of processes.")] = 2,
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
    config: ConfigFile,
    out: Out,
    only: Annotated[str, Option(help="Data sets, comma-separated; default: all.")] = "",
    page: Annotated[
        Path | None, Option(help="Page to write; default: in OUT.", callback=local_path)
    ] = None,
    workers: Annotated[int | None, Option(help="Parallel trainings; default: all cores.")] = None,
) -> None:
    """Compare all arms on real data, and write a page.

    An interrupted study resumes from its output folder.
    """
    from scpo.files.output_folder import output_folder

    with output_folder(out, "study", keep=[config]):
        from sweeps.research.run_study import run_study

        results = run_study(config, out, say, only=split_names(only), page=page, workers=workers)
    done = ", ".join(result.title for result in results)
    console.print(f"Written: {page or out / 'STUDY.md'}, {out / 'study.csv'} ({done})")
