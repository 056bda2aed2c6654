"""The set-up, in a copy of it inside an empty checkout: nothing is downloaded, installed or compiled."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import types
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THIS_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
Usage = namedtuple("Usage", "total used free")


def forget_modules():
    for name in [name for name in sys.modules if name.split(".")[0] in ("bootstrap", "environment")]:
        del sys.modules[name]


def remembering(probe, answers={}):  # noqa: B006
    """Starting an interpreter takes a while, and these tests ask about the same one again and again."""

    def remembered(command):
        target = os.path.realpath(command)
        if os.path.exists(target) and target not in answers:
            answers[target] = probe(target)
        return answers.get(target)

    return remembered


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The modules of a copy of the set-up, whose checkout is `tmp_path`."""
    for name in ("requirements.lock", "setup.cfg", "pyproject.toml", "tools/bootstrap.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "tools/environment", tmp_path / "tools/environment")
    (tmp_path / "spectral_ops").mkdir()
    (tmp_path / "spectral_ops/__init__.py").touch()
    forget_modules()
    monkeypatch.syspath_prepend(tmp_path / "tools")
    parts = ("machine", "project", "state", "lock", "commands", "failures", "compiled_mmcv", "check")
    modules = {part: importlib.import_module(f"environment.{part}") for part in parts}
    bootstrap = importlib.import_module("bootstrap")
    for module in (modules["state"], bootstrap):
        monkeypatch.setattr(module, "probe", remembering(modules["machine"].probe))
    yield types.SimpleNamespace(bootstrap=bootstrap, **modules)
    forget_modules()


@pytest.fixture
def finished(tool, tmp_path):
    """The same with a complete `.venv`."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(tool.machine.probe(sys.executable).path)
    tool.state.write_stamp("complete", tool.state.made_from(THIS_MINOR))
    return tool


def fail(tool, function, *arguments):
    """The message of an expected failure, which must be one line."""
    with pytest.raises(tool.project.SetupError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The lock file


def test_lock_pins_every_package_once():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
    names = [line.split("==")[0] for line in lines]
    assert len(lines) > 50 and len(set(names)) == len(names)
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [a-z_]+ (==|<) \"[\w.]+\")?", line), line


def test_lock_has_what_the_setup_relies_on_and_one_opencv(tool):
    locked = tool.project.locked()
    assert "opencv-python-headless" in locked
    assert not {"opencv-python", "opencv-contrib-python"} & set(locked)
    assert {*tool.bootstrap.BUILD_TOOLS, *tool.bootstrap.SOURCE_ONLY, tool.project.MMCV, "torch"} <= set(locked)
    assert tool.project.locked_version("triton") == locked["triton"].split("==")[1].split(" ;")[0]


# Interpreters


def known(tool, monkeypatch, **interpreters):
    """Let only these run: name="version" or name=("version", has_headers, has_venv)."""
    found = {}
    for name, what in interpreters.items():
        version, headers, venv = (what, True, True) if isinstance(what, str) else what
        found[name] = tool.machine.Interpreter(f"/found/{name}", version, headers, venv)
    monkeypatch.setattr(tool.machine.sys, "executable", "running")
    monkeypatch.setattr(tool.machine, "probe", lambda command: found.get(command.replace(".", "_")))
    return lambda requested="": tool.machine.choose_interpreter(requested).path


def test_requested_interpreter_wins(tool, monkeypatch):
    choose = known(tool, monkeypatch, running="3.11.7", mine="3.10.1")
    assert choose("mine") == "/found/mine"


@pytest.mark.parametrize(("requested", "message"), [("old", "is Python 3.9.2"), ("absent", "does not run")])
def test_unusable_request_is_refused_rather_than_replaced(tool, monkeypatch, requested, message):
    choose = known(tool, monkeypatch, running="3.11.7", old="3.9.2")
    text = fail(tool, choose, requested)
    assert f"PYTHON={requested}" in text and message in text and "3.10, 3.11 or 3.12" in text


def test_running_interpreter_comes_before_those_on_the_path(tool, monkeypatch):
    assert known(tool, monkeypatch, running="3.10.9", python3_12="3.12.1")() == "/found/running"


def test_path_is_searched_when_the_running_one_is_unsupported(tool, monkeypatch):
    assert known(tool, monkeypatch, running="3.13.0", python3_10="3.10.9", python3_11="3.11.2")() == "/found/python3_11"


def test_complete_interpreter_comes_before_one_without_headers(tool, monkeypatch):
    assert known(tool, monkeypatch, running=("3.11.2", False, True), python3_12="3.12.1")() == "/found/python3_12"
    assert known(tool, monkeypatch, running=("3.11.2", False, True))() == "/found/running"


def test_no_supported_interpreter(tool, monkeypatch):
    text = fail(tool, known(tool, monkeypatch, running="3.13.0", python3_12="3.9.1"))
    assert "No Python 3.10, 3.11 or 3.12 found" in text and "make PYTHON=" in text


@pytest.mark.parametrize(("parts", "remedy"), [((False, True), "python3.12-dev"), ((True, False), "python3.12-venv")])
def test_missing_part_of_python_is_named(tool, parts, remedy):
    interpreter = tool.machine.Interpreter("/usr/bin/python3.12", "3.12.1", *parts)
    assert remedy in fail(tool, tool.machine.check_interpreter, interpreter)
    tool.machine.check_interpreter(interpreter._replace(has_headers=True, has_venv=True))


def test_probe_sees_through_virtual_environments(tool, tmp_path):
    base = tool.machine.probe(sys.executable)
    assert base.minor == THIS_MINOR and base.has_venv
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "some"], check=True)
    assert tool.machine.probe(str(tmp_path / "some/bin/python")) == base
    assert tool.machine.probe(str(tmp_path / "absent")) is None
    assert tool.machine.probe("true") is None


# Compiler and disk


def script(path, exit_status):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {exit_status}\n")
    path.chmod(0o755)
    return str(path)


def test_first_compiler_that_runs_is_taken(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    script(tmp_path / "bin/c++", 1)
    script(tmp_path / "bin/clang++", 0)
    assert tool.machine.find_compiler({}) == "clang++"
    script(tmp_path / "bin/g++", 0)
    assert tool.machine.find_compiler({}) == "g++"
    own = script(tmp_path / "own", 0)
    assert tool.machine.find_compiler({"CXX": f"{own} -pipe"}) == f"{own} -pipe"


def test_missing_compiler(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "No C++ compiler (c++, g++, clang++) found" in fail(tool, tool.machine.find_compiler, {})
    assert "CXX=icpc does not run" in fail(tool, tool.machine.find_compiler, {"CXX": "icpc"})
    assert "apt install g++" in fail(tool, tool.machine.find_compiler, {})


def test_too_little_disk(tool, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 0, 8.95e9))
    text = fail(tool, tool.machine.check_disk, 9)
    assert "Too little disk" in text and "about 9 GB" in text and "8.9 GB free" in text
    tool.machine.check_disk(8)


# The state of .venv


def test_finished_environment_is_current_and_nothing_is_run(finished, monkeypatch):
    monkeypatch.setattr(finished.bootstrap, "only_one_setup", None)
    finished.bootstrap.set_up({})
    finished.bootstrap.set_up({"PYTHON": sys.executable})


@pytest.mark.parametrize("name", ["requirements.lock", "setup.cfg", "pyproject.toml"])
def test_changed_file_asks_for_an_update(finished, tmp_path, name):
    (tmp_path / name).write_text((tmp_path / name).read_text() + "\n# changed\n")
    assert not finished.state.is_current("") and finished.state.can_update("")


def test_new_package_asks_for_an_update(finished, tmp_path):
    (tmp_path / "adapters").mkdir()
    assert finished.state.is_current("")
    (tmp_path / "adapters/__init__.py").touch()
    assert not finished.state.is_current("") and finished.state.can_update("")


@pytest.mark.parametrize(("state", "update"), [("usable", True), ("changing", False)])
def test_unfinished_environment_is_not_current(finished, state, update):
    finished.state.write_stamp(state, finished.state.made_from(THIS_MINOR))
    assert not finished.state.is_current("") and finished.state.can_update("") is update


@pytest.mark.parametrize(("key", "value"), [("python", "3.8"), ("venv", "/elsewhere/.venv"), ("revision", 0)])
def test_environment_of_another_kind_is_made_anew(finished, key, value):
    finished.state.write_stamp("complete", {**finished.state.made_from(THIS_MINOR), key: value})
    assert not finished.state.is_current("") and not finished.state.can_update("")


def test_request_for_another_python_makes_the_environment_anew(finished, monkeypatch):
    real = finished.state.probe
    other = finished.machine.Interpreter("/other", "3.99.0", True, True)
    monkeypatch.setattr(finished.state, "probe", lambda command: other if command == "other" else real(command))
    assert not finished.state.is_current("other") and not finished.state.can_update("other")


def test_vanished_interpreter_makes_the_environment_anew(finished, tmp_path):
    (tmp_path / ".venv/bin/python").unlink()
    (tmp_path / ".venv/bin/python").symlink_to(tmp_path / "gone")
    assert not finished.state.is_current("") and not finished.state.can_update("")


@pytest.mark.parametrize("content", [b"", b'{"state": "comp', b"\xff\x00", b"[]"])
def test_half_written_stamp_is_recovered_from(finished, content):
    finished.state.STAMP.write_bytes(content)
    assert not finished.state.is_current("") and not finished.state.can_update("")
    finished.state.empty_venv(finished.state.made_from(THIS_MINOR))
    assert [entry.name for entry in finished.project.VENV.iterdir()] == [".stamp.json"]
    assert finished.state.read_stamp()["state"] == "changing"


def test_kill_while_emptying_leaves_the_mark_of_a_change(finished, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        finished.state.empty_venv(finished.state.made_from(THIS_MINOR))
    assert not finished.state.can_update("")


def test_environment_of_someone_else_is_left_alone(finished, tmp_path):
    finished.state.STAMP.unlink()
    assert "was not made by this set-up" in fail(finished, finished.state.empty_venv, {})
    assert (tmp_path / ".venv/bin/python").exists()


def test_environment_of_another_checkout_is_left_alone(finished, tmp_path):
    theirs = (tmp_path / ".venv").rename(tmp_path / "theirs")
    (tmp_path / ".venv").symlink_to(theirs)
    finished.project.LOCK_FILE.write_text("")  # so that it is not current
    assert f"is a link to {theirs}" in fail(finished, finished.bootstrap.set_up, {})
    assert (theirs / "bin/python").exists()


def test_packages_that_left_the_lock_are_known(finished, tmp_path):
    assert finished.state.no_longer_locked() == []
    lock = tmp_path / "requirements.lock"
    lock.write_text("".join(line for line in lock.read_text().splitlines(True) if not line.startswith("regex==")))
    assert finished.state.no_longer_locked() == ["regex"]


# Commands, logs, failures


@pytest.fixture
def runner(tool, tmp_path):
    (tmp_path / ".setup/tmp").mkdir(parents=True)
    with tool.lock.only_one_setup() as lock:
        yield tool.commands.Runner({"PATH": os.environ["PATH"], "PYTHONPATH": "/wrong", "PIP_USER": "1"}, lock)


def test_output_goes_to_the_log_and_not_to_the_reader(runner, tmp_path, capfd):
    runner.run("some.log", ["sh", "-c", "echo first; echo second >&2; env"])
    log = (tmp_path / ".setup/some.log").read_text()
    assert log.startswith("first\nsecond\n") and capfd.readouterr() == ("", "")
    assert "PYTHONPATH" not in log and "PIP_USER=0" in log and f"TMPDIR={tmp_path}/.setup/tmp" in log


def test_failed_command_is_one_line_with_the_log(tool, runner, tmp_path):
    text = fail(tool, runner.run, "some.log", ["sh", "-c", "echo '[Errno 28] No space left on device'; exit 1"])
    assert text == f"The disk is full: free some space and run the command again. Log: {tmp_path}/.setup/some.log"


def test_command_that_was_killed_is_said_to_be(tool, runner):
    assert "ended from outside (signal 9)" in fail(tool, runner.run, "some.log", ["sh", "-c", "kill -9 $$"])


def test_interruption_ends_the_command(tool, runner, tmp_path, monkeypatch):
    started = []

    def interrupted(process, log, describe):
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(tool.commands, "follow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run("some.log", ["sleep", "60"])
    assert started[0].returncode == -15


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'", "writable"),
        ("c++: fatal error: Killed signal terminated program cc1plus\nninja: build stopped", "MAX_JOBS=1"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(': Failed to establish "
            "a new connection: [Errno -3] Temporary failure in name resolution')'\n"
            "ERROR: No matching distribution found for torch==2.11.0",
            "registry cannot be reached",
        ),
        ("ERROR: 403 Client Error: Forbidden for url: x", "registry cannot be reached"),
        ("ERROR: No matching distribution found for torch==2.11.0", "has no torch==2.11.0 for this machine"),
        ("error: no member named 'x'\nninja: build stopped: subcommand failed.", "mmcv did not compile"),
        ("noise\nThe environment is wrong: einops is missing.\n", "The environment is wrong: einops is missing."),
        ("something new", "the end of the log says more"),
    ],
)
def test_failures_are_explained(tool, output, message):
    text = tool.failures.explain(output, 1)
    assert message in text and "\n" not in text


def test_progress_is_a_line_now_and_then_without_a_terminal(tool, capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(tool.commands.time, "monotonic", lambda: now[0])
    progress = tool.commands.Progress()
    for now[0] in (101.0, 114.9, 115.0, 116.0, 129.9, 175.2):
        progress.show("compiled")
    assert capsys.readouterr().out.split() == ["0:15", "compiled", "1:15", "compiled"]


def test_lines_of_output_become_progress(tool):
    ninja = "  [38/78] c++ -MMD -MF a.o.d -Ia/b\n"
    assert tool.compiled_mmcv.describe_compilation(ninja) == "38 of 78 files compiled"
    pip = "  Downloading https://example.org/a/torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl (530.6 MB)\n"
    assert tool.commands.describe_pip(pip) == "fetching torch (530.6 MB)"
    assert tool.commands.describe_pip("Installing collected packages: a, b\n") == "unpacking what was fetched"
    assert tool.commands.describe_pip("Collecting a\n") == tool.compiled_mmcv.describe_compilation("cc\n") == ""


def test_second_setup_waits_and_says_so(tool, capsys):
    order = []

    def second():
        with tool.lock.only_one_setup():
            order.append("second")

    waiting = threading.Thread(target=second)
    with tool.lock.only_one_setup() as lock, subprocess.Popen(["sleep", "60"], start_new_session=True) as command:
        tool.lock.note_command(lock, command.pid)
        waiting.start()
        waiting.join(0.3)
        assert command.poll() is None
        command.kill()
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    assert capsys.readouterr().out == "Another set-up of this checkout is running: waiting for it to finish.\n"


def test_commands_of_a_killed_setup_are_ended(tool, tmp_path, capsys):
    killed = subprocess.Popen(["true"])
    killed.wait()
    with tool.lock.only_one_setup() as lock:
        orphan = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()], start_new_session=True)
        tool.lock.note_command(lock, orphan.pid)
        (tmp_path / ".setup/lock").write_text(f"{killed.pid} {orphan.pid}")
    with tool.lock.only_one_setup():
        assert orphan.wait(10) == -9
    assert capsys.readouterr().out == "Ending what an interrupted set-up left running.\n"


def test_running_command_is_noted_and_holds_the_lock(tool, runner, tmp_path):
    lock = tmp_path / ".setup/lock"
    # The note is written once the command runs, which on a busy machine may be a moment after its first words.
    waits = f"n=0; until [ -s {lock} ] || [ $n = 200 ]; do n=$((n + 1)); sleep 0.05; done"
    runner.run("some.log", ["sh", "-c", f"echo $$; {waits}; cat {lock}; ls -l /proc/self/fd"])
    group, noted, *descriptors = (tmp_path / ".setup/some.log").read_text().splitlines()
    assert noted.startswith(f"{os.getpid()} {group}")
    assert any(line.endswith(str(lock)) for line in [noted, *descriptors])


def test_folder_that_cannot_be_written(tool, tmp_path):
    (tmp_path / ".setup").write_text("in the way, as a read-only disk would be")

    def take():
        with tool.lock.only_one_setup():
            raise AssertionError("must not be reached")

    assert f"Cannot write to {tmp_path}" in fail(tool, take)


# The whole, with commands that only pretend


class Pretender:
    """Stands in for the commands: records each with the stamp it met, and fails where it is told to."""

    def __init__(self, tool, monkeypatch):
        self.tool, self.commands, self.fail_at = tool, [], "nothing"
        monkeypatch.setattr(tool.commands.Runner, "run", self.run)
        monkeypatch.setattr(tool.bootstrap, "find_compiler", lambda environ: "c++")
        monkeypatch.setattr(tool.bootstrap, "check_interpreter", lambda python: None)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 1e12))

    def run(self, log_name, command, folder=None, extra=None, describe=None):
        text = " ".join(command)
        if text.endswith("requirements.txt"):
            text += " " + Path(command[-1]).read_text().replace("\n", " ")
        self.commands.append((text, self.tool.state.read_stamp()["state"], extra))
        if self.fail_at in text:
            self.fail_at = "nothing"
            raise self.tool.project.SetupError("as told")
        if "-m venv" in text:
            (self.tool.project.VENV / "bin").mkdir()
            self.tool.project.VENV_PYTHON.symlink_to(self.tool.machine.probe(sys.executable).path)
        if "pip wheel" in text:
            wheels = Path(command[command.index("--wheel-dir") + 1])
            wheels.mkdir()
            (wheels / "onedl_mmcv-1-cp311-cp311-linux_x86_64.whl").touch()

    def seen(self, part):
        return [state for text, state, _ in self.commands if part in text]


@pytest.fixture
def pretender(tool, monkeypatch):
    return Pretender(tool, monkeypatch)


def test_fresh_setup_installs_in_order_and_ends_current(tool, pretender, capsys):
    tool.bootstrap.set_up({})
    texts = [text for text, _, _ in pretender.commands]
    parts = ["-m venv", " ninja==", " torch==", " numpy==", "pip wheel", ".whl", "check mmcv", "--editable", ".check"]
    assert len(texts) == len(parts) and all(part in text for part, text in zip(parts, texts, strict=True))
    installed = " ".join(texts)
    assert all(installed.count(f" {line} ") <= 1 for line in tool.project.locked().values())
    assert all(line in installed for line in tool.project.locked().values())
    assert all("--no-deps" in text for text in texts if "pip install" in text or "pip wheel" in text)
    assert tool.state.is_current("") and not (tool.project.WORK / "tmp").exists()
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert [step[:5] for step in steps] == ["[1/5]", "[2/5]", "[3/5]", "[4/5]", "[5/5]"]


def test_mmcv_is_compiled_against_the_installed_torch(tool, pretender):
    tool.bootstrap.set_up({"MAX_JOBS": "3"})
    ((text, _, flags),) = [command for command in pretender.commands if "pip wheel" in command[0]]
    assert "--no-build-isolation" in text and "--no-cache-dir" in text and tool.project.locked()["onedl-mmcv"] in text
    assert (flags["MMCV_WITH_OPS"], flags["FORCE_CUDA"], flags["MAX_JOBS"]) == ("1", "0", "3")


@pytest.mark.parametrize(("where", "again"), [(" torch==", 2), (" numpy==", 2), ("pip wheel", 1), (".check", 1)])
def test_interrupted_setup_recovers(tool, pretender, where, again):
    pretender.fail_at = where
    assert fail(tool, tool.bootstrap.set_up, {}) == "as told"
    assert not tool.state.is_current("")
    tool.bootstrap.set_up({})
    assert tool.state.is_current("") and len(pretender.seen("-m venv")) == again


def test_packages_are_only_touched_under_the_mark_of_a_change(tool, pretender):
    tool.bootstrap.set_up({})
    for part in ("-m venv", " torch==", " numpy==", ".whl"):
        assert pretender.seen(part) == ["changing"]
    assert pretender.seen("pip wheel") == ["usable"]


def test_update_is_made_under_the_mark_of_a_change_too(tool, pretender, tmp_path):
    tool.bootstrap.set_up({})
    pretender.commands.clear()
    (tmp_path / "setup.cfg").write_text("changed")
    tool.bootstrap.set_up({})
    assert pretender.seen(" torch==") == pretender.seen(" numpy==") == ["changing"]


def test_setup_that_waited_for_another_has_nothing_left_to_do(tool, pretender, monkeypatch):
    answers = [False, True]
    monkeypatch.setattr(tool.bootstrap, "is_current", lambda requested: answers.pop(0))
    tool.bootstrap.set_up({})
    assert answers == pretender.commands == []


def test_compiled_mmcv_is_kept_unless_what_it_depends_on_changes(tool, pretender, tmp_path):
    lock = tmp_path / "requirements.lock"
    tool.bootstrap.set_up({})
    lock.write_text(lock.read_text().replace("einops==", "einops==9"))
    tool.bootstrap.set_up({})
    assert len(pretender.seen("pip wheel")) == 1 and len(pretender.seen("-m venv")) == 1
    lock.write_text(lock.read_text().replace("torch==2", "torch==3"))
    tool.bootstrap.set_up({})
    assert len(pretender.seen("pip wheel")) == 2


def test_kept_mmcv_that_fails_its_check_is_compiled_again(tool, pretender, tmp_path):
    tool.bootstrap.set_up({})
    shutil.rmtree(tmp_path / ".venv")
    pretender.fail_at = "check mmcv"
    tool.bootstrap.set_up({})
    assert len(pretender.seen("pip wheel")) == 2 and tool.state.is_current("")


def test_fresh_mmcv_that_fails_its_check_is_not_kept(tool, pretender):
    pretender.fail_at = "check mmcv"
    fail(tool, tool.bootstrap.set_up, {})
    tool.bootstrap.set_up({})
    assert len(pretender.seen("pip wheel")) == 2


def test_update_removes_what_left_the_lock(tool, pretender, tmp_path):
    tool.bootstrap.set_up({})
    lock = tmp_path / "requirements.lock"
    lock.write_text("".join(line for line in lock.read_text().splitlines(True) if not line.startswith("regex==")))
    tool.bootstrap.set_up({})
    assert [text.split("--yes ")[1] for text, _, _ in pretender.commands if "uninstall" in text] == ["regex"]


@pytest.mark.parametrize("missing", ["compiler", "disk", "python"])
def test_nothing_is_run_before_the_machine_is_checked(tool, pretender, monkeypatch, missing):
    def complain(*_):
        raise tool.project.SetupError(missing)

    names = {"compiler": "find_compiler", "disk": "check_disk", "python": "choose_interpreter"}
    monkeypatch.setattr(tool.bootstrap, names[missing], complain)
    assert fail(tool, tool.bootstrap.set_up, {}) == missing and pretender.commands == []


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (OSError(30, "Read-only file system"), 1, "error: the set-up cannot go on: [Errno 30] Read-only file system"),
        (KeyboardInterrupt(), 130, "The set-up was interrupted: run the command again to continue."),
        (None, 1, "error: what to do"),
    ],
)
def test_expected_failures_print_one_line(tool, monkeypatch, capsys, error, status, line):
    def raise_it(environ):
        raise error or tool.project.SetupError("what to do")

    monkeypatch.setattr(tool.bootstrap, "set_up", raise_it)
    monkeypatch.setattr(tool.bootstrap.signal, "signal", lambda *_: None)
    assert tool.bootstrap.main() == status
    assert capsys.readouterr().out.strip() == line


def test_old_python_can_start_the_setup():
    for path in [ROOT / "tools/bootstrap.py", *(ROOT / "tools/environment").glob("*.py")]:
        tree = ast.parse(path.read_text(), feature_version=(3, 8))
        if path.name != "check.py":
            modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
            assert {module.split(".")[0] for module in modules} <= {*sys.stdlib_module_names, "environment"}


# The check of what was installed


def test_check_compares_versions_with_the_lock(tool, tmp_path):
    from importlib.metadata import version

    lock = tmp_path / "requirements.lock"
    lock.write_text(f'pytest=={version("pytest")}\nabsent-package==1.0 ; python_version < "3.0"\n')
    tool.check.check_versions()
    lock.write_text("pytest==0.1\n")
    assert f"pytest is {version('pytest')}, but requirements.lock says pytest==0.1" in fail(
        tool, tool.check.check_versions
    )
    lock.write_text("absent-package==1.0\n")
    assert "absent-package is not installed" in fail(tool, tool.check.check_versions)


def test_check_names_an_import_that_fails(tool, tmp_path):
    (tmp_path / "tools/broken_module.py").write_text("raise OSError('libx.so: cannot open\\nshared object')")
    text = fail(tool, tool.check.imported, "broken_module")
    assert "`import broken_module` fails with OSError: libx.so: cannot open shared object" in text


def test_check_finds_operators_that_give_wrong_results(tool, monkeypatch):
    tool.check.check_mmcv()
    import mmcv.ops

    monkeypatch.setattr(mmcv.ops, "nms", lambda boxes, scores, threshold: (boxes, scores.argsort()))
    assert "non-maximum suppression" in fail(tool, tool.check.check_mmcv)


def test_check_refuses_packages_of_another_checkout(tool, monkeypatch):
    monkeypatch.setattr(tool.check, "check_versions", lambda: None)
    monkeypatch.setattr(tool.check, "check_mmcv", lambda: None)
    elsewhere = types.SimpleNamespace(__file__="/elsewhere/spectral_ops/__init__.py")
    monkeypatch.setattr(tool.check, "imported", lambda name: elsewhere)
    assert "instead of this checkout" in fail(tool, tool.check.check_environment)


def test_stamp_is_replaced_in_one_piece(finished, monkeypatch):
    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        finished.state.write_stamp("changing", finished.state.made_from(THIS_MINOR))
    assert json.loads(finished.state.STAMP.read_text())["state"] == "complete"
