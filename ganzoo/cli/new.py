"""`ganzoo new`: a package with working components, their tests and what publishing it takes."""

from __future__ import annotations

import keyword
import re
import subprocess
from dataclasses import dataclass
from datetime import date
from importlib import resources, util
from pathlib import Path

import click
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from ganzoo import __version__
from ganzoo.catalog import canonical, get_catalog, is_address, is_distribution
from ganzoo.errors import RunError, UsageError
from ganzoo.plugin import Component
from ganzoo.registry import as_kind, installed
from ganzoo.values import toml_text

# What each kind's declaration has beside its name, target and summary.
DECLARED: dict[str, dict[str, str]] = {
    "generator": {"modality": '"image"', "resolutions": '"power of two from 8"', "labels": '"used"'},
    "discriminator": {
        "provides": '{"head", "features", "double-backward"}',
        "modality": '"image"',
        "resolutions": '"power of two from 8"',
        "labels": '"used"',
    },
    "loss": {"provides": '"level"'},
    "regularizer": {},
    "augmentation": {"modality": '"image"'},
    "game": {},
    "dataset": {"modality": '"image"'},
    "features": {"modality": '"image"'},
    "encoder": {},
    "metric": {},
    "recipe": {"paper": '"arXiv:1511.06434"', "modality": '"image"'},
}
SUMMARIES = {
    "generator": "Convolutions that double a small map to an image",
    "discriminator": "Strided convolutions and a linear head",
    "loss": "Squareplus of the logits",
    "regularizer": "A penalty on the level of D's logits for reals",
    "augmentation": "Brighter or darker images",
    "game": "One against one, with several steps of G a round",
    "dataset": "Discs of three colours",
    "features": "Random convolutions",
    "encoder": "Counts of letters",
    "metric": "Distance between mean feature vectors",
    "recipe": "A small DCGAN on emoji",
}
# A command that uses the new part; the zoo's other parts fill in.
TRAIN = {
    "generator": "--gen NAME --disc dcgan",
    "discriminator": "--gen dcgan --disc NAME",
    "loss": "--loss NAME",
    "regularizer": "--reg NAME",
    "augmentation": "--aug NAME",
    "game": "--game NAME",
    "dataset": "--data NAME",
    "features": "--disc projected:features=NAME --res 64",
    "encoder": "--data captioned:data=emoji,encoder=NAME --gen text-dcgan --res 32",
    "recipe": "--recipe NAME",
}
NEEDS = {"recipe": ("ganzoo-dcgan>=0.1", "ganzoo-emoji>=0.1", "ganzoo-objectives>=0.1")}  # what a recipe names


@dataclass(frozen=True, slots=True)
class Made:
    """A component to write: `module` is its file, without an ending."""

    kind: str
    name: str
    module: str

    @property
    def class_name(self) -> str:
        words = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^a-z0-9]+", self.name))
        return f"{'N' if words[0].isdigit() else ''}{words}{self.kind.capitalize()}"


@click.command("new")
@click.argument("what", nargs=-1, required=True, metavar="KIND NAME [KIND NAME]...")
@click.option("--dir", "folder", metavar="D", help="Where to write the package; without it ./DISTRIBUTION.")
@click.option("--distribution", metavar="NAME", help="Its name, as pip will know it; without it ganzoo-NAME of the first.")
@click.option("--author", metavar="NAME", help="Without it git's user.name.")
@click.option("--homepage", metavar="URL", help="Where to read about it: the repository, say.")
@click.option("--licence", metavar="SPDX", default="MIT", show_default=True, help="An SPDX expression.")
def command(
    what: tuple[str, ...],
    folder: str | None,
    distribution: str | None,
    author: str | None,
    homepage: str | None,
    licence: str,
) -> int:
    """Write a plugin: a package that builds, passes its own tests and trains.

    Several KIND NAME pairs make one package with several components. Nothing that exists is written over.
    """
    made = _asked(what)
    distribution = distribution or f"ganzoo-{re.sub(r'[.+]', '-', made[0].name).removeprefix('ganzoo-')}"
    package = _package(distribution)
    place = Path(folder or distribution).expanduser()
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place} is there already, and no folder: choose another with --dir")
    try:
        licence = canonicalize_license_expression(licence)
    except InvalidLicenseExpression:
        raise UsageError(f"--licence {licence} is no SPDX expression: MIT, Apache-2.0, BSD-3-Clause...") from None
    if homepage is not None and not is_address(homepage):
        raise UsageError(f"--homepage {homepage}: write an address, https://...")
    files = _files(made, distribution, package, author or _git_name(), homepage, licence)
    if there := [name for name in files if (place / name).exists()]:
        raise UsageError(f"{place} has {', '.join(there[:3])} already, which would be written over: choose another with --dir")
    try:
        for name, text in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as err:
        raise RunError(f"{place} could not be written: {err.strerror}") from None
    first = next((m for m in made if m.kind in TRAIN), None)
    click.echo(f"{place}: {len(files)} files; replace what is marked 'replace this'. Next:\n")
    click.echo(f"  pip install --editable '{place}[test]'")
    click.echo(f"  ganzoo check {distribution}")
    if first is not None:
        click.echo(f"  ganzoo train {train_words(first)} --kimg 1")
    return 0


def train_words(made: Made) -> str:
    """Options of `ganzoo train` that use it."""
    return TRAIN[made.kind].replace("NAME", made.name)


def _asked(what: tuple[str, ...]) -> list[Made]:
    if len(what) % 2:
        raise UsageError(f"'{what[-1]}' has no name: write KIND NAME, such as 'ganzoo new generator mine'")
    made: list[Made] = []
    for kind, name in zip(what[::2], what[1::2], strict=True):
        kind = as_kind(kind)
        try:
            Component(kind, name, "checked:only")
        except ValueError as err:
            raise UsageError(str(err)) from None
        if rivals := get_catalog().offering(kind, name):
            raise UsageError(f"{kind} '{name}' is what {rivals[0].distribution} offers: choose another name")
        if any((m.kind, m.name) == (kind, name) for m in made):
            raise UsageError(f"{kind} '{name}' is asked for twice")
        taken = {m.module for m in made}
        module = kind if kind not in taken else f"{kind}_{re.sub(r'[^a-z0-9]+', '_', name)}"
        if module in taken:
            raise UsageError(
                f"{kind} '{name}' would share a file with another: choose a name that differs in letters or digits"
            )
        made.append(Made(kind, name, module))
    return made


def _package(distribution: str) -> str:
    """The name of its package. Raises UsageError where it is no name, or somebody else's."""
    if not is_distribution(distribution):
        raise UsageError(f"--distribution {distribution}: write letters, digits, '-', '_' and '.', such as ganzoo-mine")
    package = re.sub(r"[-.]+", "_", distribution).lower()
    if not package.isidentifier() or keyword.iskeyword(package):
        raise UsageError(f"--distribution {distribution}: its package would be '{package}', which Python cannot import")
    taken = any(canonical(offer.distribution) == canonical(distribution) for offer in get_catalog().offers)
    if taken or installed(distribution) or util.find_spec(package) is not None:
        raise UsageError(f"there is a {distribution} already, which yours would replace: choose another with --distribution")
    return package


def _git_name() -> str:
    try:
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return "The author"
    return done.stdout.strip() or "The author"


def _files(
    made: list[Made], distribution: str, package: str, author: str, homepage: str | None, licence: str
) -> dict[str, str]:
    """Every file's text, by its path in the package's folder."""
    source = resources.files("ganzoo.scaffold")
    values = {
        "@DISTRIBUTION@": distribution,
        "@PACKAGE@": package,
        "@AUTHOR@": toml_text(" ".join(author.split())),
        "@HOLDER@": " ".join(author.split()),
        "@URLS@": f"\n[project.urls]\nHomepage = {toml_text(homepage)}\n" if homepage else "",
        "@LICENCE@": licence,
        "@LICENCE_FILE@": 'license-files = ["LICENSE"]\n' if licence == "MIT" else "",
        "@YEAR@": str(date.today().year),
        "@SUMMARY@": f"{SUMMARIES[made[0].kind]}, for ganzoo",
        "@NEEDS@": "".join(f', "{need}"' for need in sorted({n for m in made for n in NEEDS.get(m.kind, ())})),
        "@CORE@": ".".join(__version__.split(".")[:2]),
        "@COMPONENTS@": "\n".join(_declaration(m, package) for m in made),
        "@WHAT@": "\n".join(f"- {m.kind} `{m.name}`: {SUMMARIES[m.kind]}" for m in made),
        "@TRAIN@": "\n".join(f"ganzoo train {train_words(m)} --kimg 1" for m in made if m.kind in TRAIN),
    }

    def filled(template: str) -> str:
        text = source.joinpath(template).read_text("utf-8")
        for word, value in values.items():
            text = text.replace(word, value)
        return text

    files = {
        "pyproject.toml": filled("package/pyproject.toml.txt"),
        "README.md": filled("package/README.md.txt"),
        ".gitignore": "__pycache__/\n*.egg-info/\n/dist/\n/build/\n/runs/\n/.venv/\n",
        f"src/{package}/__init__.py": filled("package/entry.py.txt"),
        f"src/{package}/py.typed": "",
        "tests/test_contracts.py": filled("package/test_contracts.py.txt"),
        ".github/workflows/test.yml": filled("package/test.yml.txt"),
        ".github/workflows/publish.yml": filled("package/publish.yml.txt"),
    }
    if licence == "MIT":
        files["LICENSE"] = filled("package/LICENSE.txt")
    for m in made:
        if m.kind == "recipe":
            files[f"src/{package}/recipes/{m.name}.toml"] = source.joinpath("recipe.toml").read_text("utf-8")
        else:
            text = source.joinpath(f"{m.kind}.py").read_text("utf-8")
            files[f"src/{package}/{m.module}.py"] = re.sub(r"\bMine\b", m.class_name, text)
    return files


def _declaration(made: Made, package: str) -> str:
    target = f"{package}:recipes/{made.name}.toml" if made.kind == "recipe" else f"{package}.{made.module}:{made.class_name}"
    lines = [f'"{made.kind}"', f'"{made.name}"', f'"{target}"', f'summary="{SUMMARIES[made.kind]}"']
    lines += [f"{key}={value}" for key, value in DECLARED[made.kind].items()]
    return "".join(["    yield Component(\n", *(f"        {line},\n" for line in lines), "    )"])
