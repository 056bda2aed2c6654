"""Convert a checkpoint of vHeat, a relative or HiViT to safetensors with this project's names, or the official ones.

    python tools/convert_checkpoint.py IN [OUT.safetensors] [--weights raw|ema] [--prefix TEXT] [--to own|official]
        [--list]

Without OUT it says what IN holds: the network, other parts beside it (a neck), and the file's own words on itself.

Reads official and own files of every form (classification, dense or pre-training, as trained or precomputed, also
inside a detector), without unpickling code. It builds the network the file belongs to, loads it before and after the
conversion, and writes OUT only where both give the same features of one image. What is left out is listed with the
reason.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import torch
from files.arguments import any_path, existing_file
from safetensors.torch import save_file

from backbones import ITPN, HiViT, SpectralNet, load_checkpoint, network_like, read_checkpoint, to_official
from backbones.remote_sensing import RSVHeat
from backbones.training.files import write_checkpoint
from backbones.weights.conversion import TABLES
from backbones.weights.identification import describe
from backbones.weights.loading import LoadReport, read_named
from backbones.weights.reading import read_metadata
from spectral_ops import Precomputed

Network = SpectralNet | HiViT


def features(net: Network) -> list[torch.Tensor]:
    """Stage outputs, levels of a pyramid, and logits where there are any, of one fixed random image."""
    sizes = net.img_size if isinstance(net, HiViT) else [4 * n for n in net_grid(net)]
    image = torch.randn(1, net.in_chans, *sizes, generator=torch.Generator().manual_seed(0))
    if isinstance(net, RSVHeat):  # in the units of its modalities, and within their ranges
        mean, std = (torch.tensor([v for spec in net.modalities for v in getattr(spec, s)]) for s in ("mean", "std"))
        image = mean[:, None, None] + std[:, None, None] * image.tanh()
    with torch.no_grad():
        levels = net.forward_levels(image)[0] if isinstance(net, ITPN) else []
        return [*net.forward_stages(image), *levels, *([net(image)] if net.num_classes else [])]


def net_grid(net: SpectralNet) -> tuple[int, int]:
    """Map size of the first stage at the size of the network's embeddings or stored gains; 16 x 16 without either."""
    stage = net.stages[0]
    if stage.embedding is not None:
        return tuple(stage.embedding.weight.shape[:2])
    operator = stage.blocks[0].mixer.operator
    return operator.stored_sizes[0] if isinstance(operator, Precomputed) else (16, 16)


def loaded(path: Path, weights: str, prefix: str | None = None) -> tuple[Network, LoadReport]:
    """The network of a file, in float32, and what became of the file's tensors."""
    heads = read_metadata(path).get("num_heads")
    net = network_like(read_named(path, weights, prefix).tensors, num_heads=heads and int(heads)).eval()
    return net, load_checkpoint(net, path, resize=None, weights=weights, prefix=prefix)


def others(source: Path) -> Counter[str]:
    """Other parts beside the network in a file of tensors, a neck for example, and how many tensors each has."""
    names = [name for name, value in read_checkpoint(source).items() if isinstance(value, torch.Tensor)]
    prefixes = tuple({prefix for table in TABLES for prefix in table.prefixes(names)})
    return Counter(name.partition(".")[0] for name in names if not name.startswith(prefixes))


def say(source: Path, weights: str = "raw", prefix: str | None = None, listing: bool = False) -> None:
    """Print what a file holds.

    Raises:
        ValueError: It cannot be read, or holds no network of this project.
    """
    named = read_named(source, weights, prefix)
    state = named.tensors
    print(f"{source}: {describe(state)}, {len(state)} tensors")
    for part, count in others(source).items():
        print(f"beside it: {part}, {count} tensors")
    if named.unexpected:
        print(f"nobody's: {', '.join(named.unexpected)}")
    for name, value in sorted(read_metadata(source).items()):
        print(f"{name}: {value}")
    if listing:
        for name, tensor in state.items():
            print(f"{name}  {tuple(tensor.shape)}")


def convert(
    source: Path,
    target: Path,
    weights: str = "raw",
    prefix: str | None = None,
    to: str = "own",
    listing: bool = False,
) -> None:
    """Convert, verify, and say what was done.

    Raises:
        ValueError: The file cannot be read or is not a whole network of this project; nothing is written.
        FileExistsError: ``target`` exists.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists; give another name")
    state = read_named(source, weights, prefix).tensors
    before, report = loaded(source, weights, prefix)
    tensors = to_official(state) if to == "official" else state
    target.parent.mkdir(parents=True, exist_ok=True)

    metadata = {**read_metadata(source), "format": "pt"}

    # RS-vHeat's official names have no room for modalities, so that the file alone tells no network.
    mute = to == "official" and isinstance(before, RSVHeat)

    def converted(part: Path) -> Network:
        if not mute:
            return loaded(part, "raw")[0]
        net = network_like(state).eval()
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)  # all that counts must come from the file
        load_checkpoint(net, part, resize=None)
        return net

    def write(part: Path) -> None:
        save_file({name: t.contiguous().clone() for name, t in tensors.items()}, part, metadata=metadata)
        if not all(map(torch.equal, features(before), features(converted(part)))):
            raise ValueError(f"the converted file would give other features than {source}; nothing was written")

    write_checkpoint(target, write)
    if listing:
        for name, tensor in tensors.items():
            print(f"{name}  {tuple(tensor.shape)}")
    dims = [info["num_chs"] for info in before.feature_info[: len(before.stages)]]
    print(f"{len(tensors)} tensors, widths {dims}, depths {[len(s.blocks) for s in before.stages]}")
    for name in report.unexpected:
        done = "converted, but not compared" if name in state else "left out"
        print(f"{name}: {done}, {report.reasons[name]}")
    for part, count in others(source).items():
        print(f"left out, another part: {part}, {count} tensors")
    if mute:
        print(f"{', '.join(name for name in state if name.endswith('.description'))}: left out, no official name")
    print(f"{target}: written; it gives the same features as {source}, bit for bit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=existing_file, metavar="IN")
    parser.add_argument("target", type=any_path, nargs="?", metavar="OUT")
    parser.add_argument("--weights", choices=("raw", "ema"), default="raw", help="which of a training file's weights")
    parser.add_argument("--prefix", help="what stands before the network's names in a file of several networks")
    parser.add_argument("--to", choices=("own", "official"), default="own", help="the names to write")
    parser.add_argument("--list", action="store_true", help="print every tensor")
    args = parser.parse_args()
    try:
        if args.target is None:
            say(args.source, args.weights, args.prefix, args.list)
        else:
            convert(args.source, args.target, args.weights, args.prefix, args.to, args.list)
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
