"""Samples depend on the seed and their place alone, and a loader starts anywhere."""

import copy
import os
import pickle
import random
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler

from backbones.training.data import Seeded, make_resumable
from backbones.training.randomness import random_states, seeded, set_random_states


class Noise(Dataset):
    """The index, and a number of each generator."""

    classes = ("a", "b")

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return torch.tensor([i, random.random(), np.random.rand(), float(torch.rand(1))])


def loader(workers=0, seed=3, rank=0, world_size=1, order=SequentialSampler, **options):
    batches = BatchSampler(order(range(10)), 3, False)
    made = DataLoader(Noise(), batch_sampler=batches, num_workers=workers, **options)
    assert make_resumable(made, seed, rank, world_size)
    return made


def samples(made):
    return torch.cat(list(made))


def test_numbers_depend_on_seed_epoch_and_place(tmp_path):
    first = samples(loader())
    assert torch.equal(first, samples(loader()))
    assert not torch.equal(first, samples(loader(seed=4)))
    other = loader()
    other.batch_sampler.epoch = 1
    assert (samples(other)[:, 1:] != first[:, 1:]).all()
    assert len(first[:, 1:].unique()) == 30


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    assert torch.equal(samples(loader(workers)), samples(loader()))


@pytest.mark.parametrize("skip", [0, 1, 3, 4])
def test_it_starts_anywhere_once(skip):
    made = loader()
    made.batch_sampler.skip = skip
    rest = list(loader())[skip:]
    assert all(map(torch.equal, made, rest)) and len(rest) == 4 - skip
    assert len(list(made)) == 4  # the next pass is whole


class Drawing:
    """Draws each batch from the global generators when it is asked for it, as mmdet's sampler of groups does."""

    def __init__(self, indices):
        self.count = len(indices)

    def __iter__(self):
        for _ in range(self.count):
            yield (random.randrange(self.count) + np.random.randint(self.count) + int(torch.randint(9, ()))) % 10


@pytest.mark.parametrize("order", [RandomSampler, Drawing])
def test_samplers_that_draw_from_the_global_generators_start_anywhere(order):
    whole, (a, b) = list(loader(order=order)), (loader(order=order), loader(order=order))
    torch.rand(3), np.random.rand(3), random.random()
    b.batch_sampler.skip = 2
    assert all(map(torch.equal, a, whole)) and all(map(torch.equal, b, whole[2:]))
    assert not torch.equal(samples(loader(order=order, seed=4))[:, 0], torch.cat(whole)[:, 0])
    a.batch_sampler.epoch = 1
    assert not torch.equal(samples(a)[:, 0], torch.cat(whole)[:, 0])


def test_two_processes_draw_what_one_does():
    """Process r of W has the places r, r + W, ...: the samples are those of one process with their batches together."""

    class Every(Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, i):
            return torch.tensor([float(i), float(torch.rand(1))])

    def draw(rank, world_size, size):
        indices = list(range(12))[rank::world_size]
        made = DataLoader(Every(), batch_sampler=BatchSampler(indices, size, False))
        make_resumable(made, 0, rank, world_size)
        return list(made)

    one, (a, b) = draw(0, 1, 4), (draw(0, 2, 2), draw(1, 2, 2))
    for whole, x, y in zip(one, a, b, strict=True):
        assert torch.equal(whole, torch.stack([x, y], 1).flatten(0, 1))


@pytest.mark.parametrize("order", [SequentialSampler, RandomSampler, Drawing])
def test_the_global_generators_are_left_alone(order):
    made = loader(order=order)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    samples(made)
    assert before[0] == random.getstate() and before[1] == np.random.get_state()[1].tolist()
    assert torch.equal(before[2], torch.get_rng_state())


def test_the_dataset_is_what_it_was_to_everybody_else():
    made = loader()
    assert made.dataset.classes == ("a", "b") and len(made.dataset) == 10
    made.dataset.pipeline = "other"
    assert made.dataset.dataset.pipeline == "other" and isinstance(made.dataset, Seeded)
    for again in (pickle.loads(pickle.dumps(made.dataset)), copy.deepcopy(made.dataset)):
        assert again.seed == 3 and again.pipeline == "other"
    assert made.batch_sampler.batch_size == 3 and len(made) == 4
    with pytest.raises(AttributeError):
        made.dataset.nothing  # noqa: B018


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


def test_what_cannot_be_started_anywhere_is_left_alone():
    made = DataLoader(Stream())
    assert not make_resumable(made, 0) and isinstance(made.dataset, Stream)
    assert not make_resumable(DataLoader(Noise(), batch_size=None, sampler=RandomSampler(range(3))), 0)


class Slow(Noise):
    def __getitem__(self, i):
        time.sleep(0.05)
        return super().__getitem__(i)


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="nobody can tell who sent a signal")
def test_only_its_parent_ends_a_worker():
    made = DataLoader(Slow(), batch_size=1, num_workers=1)
    make_resumable(made, 0)
    batches = iter(made)
    next(batches)
    (worker,) = batches._workers
    if (other := os.fork()) == 0:  # a scheduler
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGUSR1)
        os._exit(0)
    os.waitpid(other, 0)
    assert len(list(batches)) == 9  # it lives on
    batches = iter(made)
    next(batches)
    (worker,) = batches._workers
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="nobody can tell who sent a signal")
def test_a_worker_that_is_starting_lives_on_too(monkeypatch):
    monkeypatch.setattr("torch.utils.data._utils.worker.torch.set_num_threads", lambda count: time.sleep(0.3))
    made = DataLoader(Noise(), batch_size=1, num_workers=1)
    make_resumable(made, 0)
    batches = iter(made)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    (worker,) = batches._workers
    time.sleep(0.1)
    for name in ("TERM", "USR1"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    assert len(list(batches)) == 10


def test_states_come_back():
    states = random_states()
    numbers = [(random.random(), np.random.rand(), float(torch.rand(1)))]
    set_random_states(states)
    assert numbers == [(random.random(), np.random.rand(), float(torch.rand(1)))]


def test_seeded_comes_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(2**70, 1):
        torch.rand(1)
        raise KeyError
    assert torch.equal(before, torch.get_rng_state())
