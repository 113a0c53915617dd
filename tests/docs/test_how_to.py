"""The how-to guides and the first page: their commands and Python blocks run in order, and print what they show.

Blocks marked `python` and `shell` run. Blocks marked `py` and `bash` need other libraries, files or machines: they are
parsed.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from pathlib import Path

import pytest

from docs.tools.generated import DOCS
from featx.cli import main as cli
from featx.cli.parser import make_parser
from featx.testing import registered

HOW_TO = DOCS / "how_to"
PAGES = sorted(page for page in HOW_TO.glob("*.md") if page.stem != "index")
FIRST_PAGE = DOCS / "get_started" / "index.md"
#: Pages that take longer than ten seconds, and about a minute.
MARKS = {"export_a_model": [pytest.mark.slow], "fine_tune": [pytest.mark.slow, pytest.mark.thorough]}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    return _BLOCK.findall(page.read_text())


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory, compiled_cache: Path) -> Path:
    """A cache that pages share, so that the photos are extracted once."""
    return Path(shutil.copytree(compiled_cache, tmp_path_factory.mktemp("how-to") / "cache"))


@pytest.mark.filterwarnings("ignore::featx.errors.UnreadableImagesWarning")  # one page shows it
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=MARKS.get(page.stem, [])) for page in (FIRST_PAGE, *PAGES)],
)
def test_page_runs(
    page: Path,
    in_folder: Path,
    photo_folder: Path,
    shared_cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FEATX_CACHE", str(shared_cache))
    monkeypatch.setattr(cli, "show_messages", lambda *_: None)
    Path("photos").symlink_to(photo_folder)
    paths = sorted(map(str, Path("photos").glob("*/*.jpg")))
    names: dict[str, object] = {"paths": paths, "y": [Path(path).parent.name for path in paths]}
    printed = ""
    with registered():
        for language, block in blocks(page):
            if language == "text":
                assert printed == block
            elif language == "python":
                exec(block, names)
                printed = capsys.readouterr().out
            elif language == "shell":
                for line in block.splitlines():
                    words = shlex.split(line)
                    assert words[0] == "featx"
                    assert cli.main(words[1:]) == 0, line
                printed = capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_that_do_not_run_parse(page: Path) -> None:
    for language, block in blocks(page):
        assert language in {"python", "shell", "py", "bash", "text", "yaml", "dockerfile"}
        if language == "py":
            ast.parse(block)
        for line in block.splitlines():
            command = re.search(r"(?:^|-- )featx (.*)", line)
            if language == "bash" and command:
                make_parser().parse_args(shlex.split(command[1]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_title_and_list(page: Path) -> None:
    text = page.read_text()
    assert text.startswith("# How to ")
    assert page.name in (HOW_TO / "index.md").read_text()


def test_manifest_of_kubernetes_is_valid() -> None:
    yaml = pytest.importorskip("yaml")
    (manifest,) = [block for name, block in blocks(HOW_TO / "run_a_job_on_kubernetes.md") if name == "yaml"]
    loaded = [resource for resource in yaml.safe_load_all(manifest) if resource["kind"] != "Service"]
    resources = {resource["metadata"]["name"]: resource for resource in loaded}
    commands = {name: r["spec"]["template"]["spec"]["containers"][0]["command"] for name, r in resources.items()}
    assert set(commands) == {"featx-scheduler", "featx-workers", "featx-client"}
    options = make_parser().parse_args(commands["featx-client"][1:])
    assert options.scheduler == commands["featx-workers"][2]
    for resource in resources.values():
        if resource["kind"] == "Deployment":
            labels = resource["spec"]["template"]["metadata"]["labels"]
            assert resource["spec"]["selector"]["matchLabels"] == labels


def test_dask_commands_of_the_manifest_parse() -> None:
    pytest.importorskip("distributed")
    from distributed.cli import dask_scheduler, dask_worker

    yaml = pytest.importorskip("yaml")
    (manifest,) = [block for name, block in blocks(HOW_TO / "run_a_job_on_kubernetes.md") if name == "yaml"]
    for resource in yaml.safe_load_all(manifest):
        if resource["kind"] == "Deployment":
            command = resource["spec"]["template"]["spec"]["containers"][0]["command"]
            program = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[command[1]]
            program.make_context(command[1], list(command[2:]))
