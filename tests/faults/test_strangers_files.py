"""Files of somebody else, as data, as configuration or beside them: none of it runs here."""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from cluster.jobs import packing
from cluster.jobs.fetch import unpack
from scpo.config import load_config
from scpo.distributed.ray_start import own_paths_only, start_ray
from scpo.files.buckets import RemoteFolder, get_files
from scpo.text.yaml_files import read_yaml
from sweeps.config import SweepConfig
from sweeps.ledger.weights_file import UserWeight, write_user_weights
from sweeps.report.report_page import write_report
from tests.faults.readers import copy_of, run_command
from tests.faults.table import shorten
from tests.faults.test_strangers_models import Bomb, program

Tell = Callable[..., None]
ROOT = Path(__file__).parents[2]
ROWS = {"prompt": ["a"], "chosen": ["b"], "rejected": ["c"], "country": ["Chile"]}
# What a process of Python's own `multiprocessing` and every command would import.
SHADOWED = ("torch", "sitecustomize", "usercustomize", "socket", "signal", "random", "tempfile")


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "canary"


def told(kind: str, canary: Path, said: str, tell: Tell) -> None:
    tell(kind, 1, ["it ran"] if canary.exists() else [], says=shorten(said, canary.parent))


def prepare(path: Path) -> str:
    ended = run_command("prepare", "pairs", "--path", path, "--out", "prepared")
    assert not ended.has_traceback, ended.said
    return ended.said if ended.code else "read as rows"


def test_a_configuration_that_asks_for_trust(canary: Path, tell: Tell) -> None:
    file = canary.with_name("sweep.yaml")
    file.write_text("name: x\ncountries: [Chile]\nglobal_model: {trust_remote_code: true}\n")
    with pytest.raises(ValueError, match="is taken from the command line alone") as raised:
        load_config(SweepConfig, file)
    told("trust_remote_code in a configuration", canary, str(raised.value)[-120:], tell)


def test_tags_of_python_in_yaml(canary: Path, tell: Tell) -> None:
    file = canary.with_name("x.yaml")
    for tag in (
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"!!python/object/new:open ['{canary}', 'w']",
        "!!python/name:os.system",
    ):
        file.write_text(f"name: {tag}\n")
        with pytest.raises(ValueError, match=r"x\.yaml, line 1 is not readable YAML") as raised:
            read_yaml(file)
    told("YAML with tags of Python", canary, str(raised.value)[-90:], tell)


@pytest.mark.parametrize("kind", ["parquet", "npy", "pkl", "script"])
def test_data_that_hold_a_program(kind: str, canary: Path, tell: Tell) -> None:
    file = canary.with_name(f"rows.{kind}")
    if kind == "parquet":  # an extension type whose metadata are a pickle
        marks = {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": pickle.dumps(Bomb(canary)),
        }
        schema = pa.schema([pa.field(name, pa.string(), metadata=marks) for name in ROWS])
        pq.write_table(pa.table(ROWS, schema=schema), file)
    elif kind == "npy":
        np.save(file, np.array([Bomb(canary)], dtype=object), allow_pickle=True)
    elif kind == "pkl":
        file.write_bytes(pickle.dumps(Bomb(canary)))
    else:
        file.mkdir()
        (file / "rows.py").write_text(program(canary))
        (file / "rows.jsonl").write_text(json.dumps({k: v[0] for k, v in ROWS.items()}) + "\n")
    told(f"data with a program, {kind}", canary, prepare(file), tell)


def test_modules_in_the_working_folder(canary: Path, tell: Tell) -> None:
    for name in SHADOWED:
        Path(f"{name}.py").write_text(program(canary))
    script = canary.with_name("bin") / "scpo"
    script.parent.mkdir()
    script.write_text(
        "import multiprocessing, sys\nfrom scpo.__main__ import main\n"
        "if __name__ == '__main__':\n"
        "    sys.argv = ['scpo', '--version']\n"
        "    try:\n        main()\n    except SystemExit:\n"
        "        child = multiprocessing.get_context('spawn').Process(target=print)\n"
        "        child.start()\n        child.join()\n        sys.exit(child.exitcode)\n"
    )
    given = {name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment = {**given, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told("modules of the working folder, in processes started", canary, done.stdout, tell)


def test_ray_s_workers_do_not_get_the_working_folder(canary: Path) -> None:
    config = own_paths_only()
    config._py_driver_sys_path.extend([os.getcwd()])  # as `ray.init` does
    assert list(config._py_driver_sys_path) == []


@pytest.mark.faults
def test_modules_in_the_working_folder_of_ray_s_workers(
    canary: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("colorsys.py").write_text(program(canary))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ray.shutdown()
    start_ray()
    try:
        paths = ray.get(ray.remote(_import_colorsys).options(num_cpus=0.1).remote())
    finally:
        ray.shutdown()
    assert os.getcwd() not in paths
    told("modules of the working folder, in Ray's workers", canary, "not on their path", tell)


def _import_colorsys() -> list[str]:
    import colorsys  # noqa: F401 - one that nothing has imported before

    return sys.path


def test_archives_that_lead_out(canary: Path, tell: Tell) -> None:
    bad = []
    for name, link in (("../canary", None), (str(canary), None), ("a", ".."), ("b", "/etc")):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            member = tarfile.TarInfo(name)
            if link is not None:
                member.type, member.linkname = tarfile.SYMTYPE, link
            tar.addfile(member, io.BytesIO())
        lines = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", lines)
            packing._print_archive(archive, 1, 10**6)
        try:
            unpack(lines.getvalue(), "s", Path("unpacked"), "a")
        except RuntimeError as error:
            said = str(error)
        links = [path for path in Path("unpacked").rglob("*") if path.is_symlink()]
        bad += [name] * any(not path.resolve().is_relative_to(Path.cwd()) for path in links)
    assert bad == []
    told("archives and links that lead out of their folder", canary, said, tell)


def test_names_of_a_bucket_that_lead_out(
    canary: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RemoteFolder, "get", lambda self, name, path: path.write_text("x"))
    for name in ("../canary", str(canary)):
        with pytest.raises(ValueError, match="leads out of the folder") as raised:
            get_files(RemoteFolder("s3://b/x"), {name: {"sha256": ""}}, Path("copy"))
    told("names of a bucket that lead out of its folder", canary, str(raised.value), tell)


def test_formulas_in_csv(canary: Path, tell: Tell) -> None:
    names = [f"{sign}cmd|' /C touch {canary}'!A1" for sign in "=+-@\t"]
    write_user_weights([UserWeight("Chile", name, 3, 0.1, 1.0) for name in names], Path())
    written = Path("user_weights.csv").read_text().splitlines()[1:]
    assert all("'" + name[0] in line for name, line in zip(names, written, strict=True))
    told("formulas in names, in CSV", canary, "a quote before each", tell)


def test_scripts_in_names_on_the_page(finished_run: Path, canary: Path, tell: Tell) -> None:
    run = copy_of(finished_run, canary.with_name("run"))
    evil = "<script>fetch('/canary')</script><img src=x onerror=alert(1)>"
    write_user_weights([UserWeight("Arvandia", evil, 3, 0.1, 0.9)] * 12, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("name: finished", f"name: {json.dumps(evil)}"))
    page = write_report(run).read_text()
    assert "onerror=alert(1)&gt;" in page
    told("scripts in names on the page", canary, "shown as text", tell)
    assert "<img src=x" not in page
    assert "<script>fetch" not in page


def test_configurations_of_tools_beside_the_data(canary: Path, tell: Tell) -> None:
    Path("pyproject.toml").write_text("[tool.scpo]\nhook = 'evil'\n")
    Path("conftest.py").write_text(program(canary))
    Path("setup.py").write_text(program(canary))
    Path(".env").write_text(f"PYTHONSTARTUP={canary}\n")
    Path("evil.pth").write_text(f"import os; open({str(canary)!r}, 'w')\n")
    Path("rows.jsonl").write_text(json.dumps({k: v[0] for k, v in ROWS.items()}) + "\n")
    told("files of tools beside the data", canary, prepare(Path("rows.jsonl")), tell)
