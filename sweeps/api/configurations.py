"""The configurations that come with the package, by name."""

from pathlib import Path

from scpo.text.near_words import nearest

CONFIGURATIONS = Path(__file__).parents[1] / "configs"


def find_configuration(name: str | Path) -> Path:
    """Return a YAML file: the one at a path, or that of a name such as "prism".

    Raises:
        FileNotFoundError: There is neither.

    Example:
        >>> find_configuration("demo").name
        'demo.yaml'
    """
    file = Path(name)
    shipped = {each.stem: each for each in sorted(CONFIGURATIONS.glob("*.yaml"))}
    if file.is_file() or str(name) not in shipped:
        if not file.exists() and file.name == str(name) and not file.suffix:
            near = nearest(str(name), shipped)
            advice = f" Did you mean {near!r}?" if near else ""
            raise FileNotFoundError(
                f"No configuration {str(name)!r}: there is no such file, and the package has "
                f"{', '.join(shipped)}.{advice}"
            )
        return file
    return shipped[str(name)]
