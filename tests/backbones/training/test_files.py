"""Files that are whole or not there, with a checksum that sees every changed byte."""

import errno
import os
import random
import stat
import subprocess

import pytest
import torch
from safetensors.torch import save_file

from backbones import read_checkpoint
from backbones.training.files import remove_checkpoint, remove_parts, write_checkpoint, write_whole
from backbones.weights.integrity import beside, recorded, sha256, verify


class Died(BaseException):
    pass


def save(value):
    return lambda path: torch.save({"w": torch.full((300,), float(value))}, path)


def value(path):
    return float(read_checkpoint(path)["w"][0])


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "file"
    write_whole(path, lambda p: p.write_text("old"))

    def fail(part):
        part.write_text("ne")
        raise Died

    with pytest.raises(Died):
        write_whole(path, fail)
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_two_writers_do_not_meet(tmp_path):
    """Each writes all of its file while the other is writing."""
    path = tmp_path / "file.pth"

    def write(part):
        part.write_text("first")
        write_whole(path, lambda other: other.write_text("second"))
        assert part.read_text() == "first"

    write_whole(path, write)
    assert path.read_text() == "first" and names(tmp_path) == ["file.pth"]


def test_the_same_tensors_are_the_same_bytes(tmp_path):
    digests = set()
    for _ in range(2):
        write_checkpoint(tmp_path / "w.pth", save(1))
        digests.add(sha256(tmp_path / "w.pth"))
    assert len(digests) == 1


def test_what_does_not_check_is_not_moved(tmp_path):
    def refuse(part):
        raise ValueError(part.read_text())

    with pytest.raises(ValueError, match="new"):
        write_whole(tmp_path / "file", lambda p: p.write_text("new"), refuse)
    assert names(tmp_path) == []


@pytest.mark.parametrize("call", range(8))
def test_a_kill_at_any_move_leaves_a_file_that_verifies(tmp_path, monkeypatch, call):
    """One checkpoint replaces another of the same name; the process dies before the move of a number."""
    path = tmp_path / "w.pth"
    write_checkpoint(path, save(1))
    moves, replace = [0], type(path).replace

    def die(self, target):
        moves[0] += 1
        if moves[0] > call:
            raise Died
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "replace", die)
        try:
            write_checkpoint(path, save(2))
        except Died:
            assert call < 3  # the digests, the file, the digest
        else:
            assert call >= 3 and len(recorded(path)) == 1
    verify(path)
    assert value(path) == (1 if call < 2 else 2)


def test_a_file_that_is_in_place_is_written_whatever_becomes_of_its_old_digest(tmp_path, monkeypatch):
    """The disk is full when only the old digest is left to go: both stay, and the file verifies by them."""
    path = tmp_path / "w.pth"
    write_checkpoint(path, save(1))
    write = type(path).write_text

    def full(self, text):
        if text.count("\n") < 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text)

    monkeypatch.setattr(type(path), "write_text", full)
    write_checkpoint(path, save(2))
    assert value(path) == 2 and len(recorded(path)) == 2


@pytest.mark.parametrize(("number", "folder"), [(errno.EINVAL, True), (errno.EIO, True), (errno.EINVAL, False)])
def test_file_systems_that_flush_no_folders_are_used_all_the_same(tmp_path, monkeypatch, number, folder):
    def refuse(handle, fsync=os.fsync):
        if stat.S_ISDIR(os.fstat(handle).st_mode) == folder:
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr("os.fsync", refuse)
    if (number, folder) == (errno.EINVAL, True):
        write_whole(tmp_path / "file", lambda p: p.write_text("new"))
        assert names(tmp_path) == ["file"]
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            write_whole(tmp_path / "file", lambda p: p.write_text("new"))


def test_checkpoints_and_parts_are_removed_with_what_belongs_to_them(tmp_path):
    write_checkpoint(tmp_path / "w.pth", save(1))
    (tmp_path / "x.pth.part").touch()
    (tmp_path / "x.pth.part-0a1b2c3d").touch()
    remove_parts(tmp_path)
    assert names(tmp_path) == ["w.pth", "w.pth.sha256"]
    remove_checkpoint(tmp_path / "w.pth")
    remove_checkpoint(tmp_path / "w.pth")
    assert names(tmp_path) == []


def flipped(path, count):
    """The file with one bit changed, at places all over it."""
    good, rng = path.read_bytes(), random.Random(0)
    for place in rng.sample(range(len(good)), count):
        damaged = bytearray(good)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        yield place
    path.write_bytes(good)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_every_flipped_bit_is_seen_with_a_checksum_beside_the_file(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    write_checkpoint(path, save(1) if suffix == "pth" else lambda p: save_file({"w": torch.ones(300)}, p))
    for _ in flipped(path, 100):
        with pytest.raises(ValueError, match=rf"w\.{suffix} is damaged or was replaced"):
            read_checkpoint(path)
    assert value(path) == 1


def test_without_one_torchs_own_checksums_see_what_changes_a_tensor(tmp_path):
    path = tmp_path / "w.pth"
    save(1)(path)
    seen = 0
    for _ in flipped(path, 150):
        try:
            assert value(path) == 1  # a byte that means nothing
        except ValueError:
            seen += 1
    assert seen > 75


def test_the_checksum_is_that_of_the_usual_tool(tmp_path):
    path = tmp_path / "w.pth"
    write_checkpoint(path, save(1))
    assert subprocess.check_output(["sha256sum", path], text=True).split()[0] == sha256(path) == recorded(path)[0]
    beside(path).unlink()
    verify(path)


def test_others_may_read_what_new_files_are_for(tmp_path):
    (tmp_path / "plain").write_text("")
    write_checkpoint(tmp_path / "w.safetensors", lambda part: save_file({"w": torch.zeros(3)}, part))
    assert os.stat(tmp_path / "w.safetensors").st_mode == os.stat(tmp_path / "plain").st_mode
