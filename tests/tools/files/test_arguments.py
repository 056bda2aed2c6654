"""Every path on every command line is meant from where the user is, and a missing file is one line."""

import argparse
import runpy
import sys
from pathlib import Path

import pytest
from files.arguments import any_path, existing_file, existing_folder, output_file, output_folder

TOOLS = Path(__file__).resolve().parents[3] / "tools"
COMMANDS = sorted(p.name for p in TOOLS.glob("*.py") if "Argument" in p.read_text() or "parse_arg" in p.read_text())
INPUTS = {existing_file: "a file", existing_folder: "a folder"}
OUTPUTS = (output_file, output_folder)


class Found(Exception):
    pass


@pytest.fixture
def parser(request, monkeypatch):
    """The parser of a command, which does not run."""

    def stop(parser, *args, **kwargs):
        raise Found(parser)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
        patch.setattr(sys, "argv", [request.param])
        patch.setattr(sys, "path", [str(TOOLS), *sys.path])
        with pytest.raises(Found) as found:
            runpy.run_path(str(TOOLS / request.param), run_name="__main__")
    return found.value.args[0]


def test_the_commands_are_found():
    assert {"train.py", "test.py", "train_classifier.py", "convert_checkpoint.py", "report.py"} <= set(COMMANDS)


def read(parser, action, text):
    """What a command makes of a path, with whatever else it asks for."""
    argv = [*action.option_strings[:1], text] if action.option_strings else []
    for group in parser._mutually_exclusive_groups:
        if group.required and action not in group._group_actions:
            argv += [group._group_actions[0].option_strings[0], "a folder"]
    for other in parser._actions:
        given = text if other is action else INPUTS.get(other.type, "out")
        if not other.option_strings:
            argv.append(given)
        elif other.required and other is not action:
            argv += [other.option_strings[0], given]
    found = getattr(parser.parse_args(argv), action.dest)
    return found[0] if action.nargs == "+" else found


@pytest.mark.filterwarnings("ignore")  # of packages that the commands import
@pytest.mark.parametrize("parser", COMMANDS, indirect=True)
def test_paths_are_meant_from_where_the_user_is(parser, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a file").touch()
    (tmp_path / "a folder").mkdir()
    assert all(action.type is not Path for action in parser._actions)
    for action in (a for a in parser._actions if a.type in (any_path, *INPUTS, *OUTPUTS)):
        there = INPUTS.get(action.type, "out")
        assert read(parser, action, there) == read(parser, action, f"~/{there}") == tmp_path / there
        if action.type is any_path:
            continue
        other = "a folder" if action.type in (existing_file, output_file) else "a file"
        absent = ("a file/x", "cannot be written") if action.type in OUTPUTS else ("nowhere", "no such f")
        for text, message in (absent, (other, f"{other} is a f")):
            with pytest.raises(SystemExit) as ended:
                read(parser, action, text)
            assert ended.value.code == 2
            assert message in capsys.readouterr().err.splitlines()[-1]


def test_inputs_must_be_there(tmp_path):
    with pytest.raises(argparse.ArgumentTypeError, match="no such file: nowhere"):
        existing_file("nowhere")
    with pytest.raises(argparse.ArgumentTypeError, match=r"https://a.org/w.pth is a web address: download the file"):
        existing_file("https://a.org/w.pth")
    with pytest.raises(argparse.ArgumentTypeError, match="is a folder, not a file"):
        existing_file(str(tmp_path))
    with pytest.raises(argparse.ArgumentTypeError, match="no such folder: nowhere"):
        existing_folder("nowhere")


def test_what_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for kind in OUTPUTS:
        assert kind(str(tmp_path / "new/out")) == tmp_path / "new/out" and not (tmp_path / "new").exists()
        with pytest.raises(argparse.ArgumentTypeError, match=r"file/x/out cannot be written: .*file is no folder"):
            kind(str(tmp_path / "file/x/out"))
    assert output_file(str(tmp_path / "file")) == tmp_path / "file" and output_folder(str(tmp_path)) == tmp_path
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(argparse.ArgumentTypeError, match=rf"new/out cannot be written: {tmp_path} may not be changed"):
        output_folder(str(tmp_path / "new/out"))
