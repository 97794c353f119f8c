"""The pages' templates, filled in: every word is escaped, a name that is missing is an error."""

from importlib.resources import files
from typing import Any

from edgekd.errors import EnvironmentFault


def fill(name: str, **values: Any) -> str:
    """The page that the template `name` of this package gives, with the style sheet as `css`.

    Raises:
        EnvironmentFault: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as err:
        raise EnvironmentFault(
            'the HTML report needs jinja2, which is not installed; pip install "edgekd[report]"'
        ) from err
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(css=_read("report.css"), **values) + "\n"


def _read(name: str) -> str:
    return files("edgekd.report").joinpath(name).read_text(encoding="utf-8")
