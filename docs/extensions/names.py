"""Names in docstrings and signatures: every one must exist, and ours lead to where the reference documents them.

Sphinx links names that are spelled as they are documented. Docstrings also say ``spectral_ops.heat.Heat`` for what is
documented as ``spectral_ops.Heat``, name modules, and name what belongs to torch and others, whose pages are not here.
Such names are imported: ours become links or, where they stand for a choice of words, those words; of others and of
modules the text stays; what does not exist, or is ours and undocumented, is left to Sphinx, which fails.
"""

import importlib
import inspect
import typing

from docutils import nodes
from sphinx.util.nodes import make_refnode

OURS = ("spectral_ops", "backbones", "adapters")


def find(name):
    """The object of a dotted name, or None."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        try:
            for part in parts[end:]:
                found = getattr(found, part)
        except AttributeError:
            return None
        return found
    return None


def home(name, found):
    """The package that an object comes from; constants and aliases of types belong where they are named."""
    defined = inspect.isclass(found) or inspect.isroutine(found)
    return (found.__module__ if defined else name).partition(".")[0]


def meanings(node):
    """What a name may stand for, from the innermost scope to the outermost."""
    target, module, owner = node["reftarget"], node.get("py:module"), node.get("py:class")
    scopes = [f"{module}.{owner}" if owner else "", module or "", "builtins", ""]
    if owner and inspect.isclass(cls := find(scopes[0])):
        # Annotations were written in the modules of the class and its bases.
        scopes += [base.__module__ for base in cls.__mro__]
    return [f"{scope}.{target}".lstrip(".") for scope in dict.fromkeys(scopes)]


def resolve(app, env, node, contnode):
    if node.get("refdomain") != "py":
        return None
    domain = env.domains["py"]
    for name in meanings(node):
        found = find(name)
        if found is None:
            continue
        if inspect.ismodule(found) or home(name, found) not in OURS:
            return contnode
        if typing.get_origin(found) is typing.Literal:
            return nodes.inline(text=" | ".join(map(repr, typing.get_args(found))))
        for documented, entry in domain.objects.items():
            if documented.startswith(OURS) and find(documented) is found:
                return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, documented)
    return None


def is_public(cls):
    package = cls.__module__.partition(".")[0]
    return package not in OURS or any(
        getattr(find(module), cls.__name__, None) is cls and cls.__name__ in getattr(find(module), "__all__", ())
        for module in (package, f"{package}.openmmlab", f"{package}.pretraining")
    )


def show_public_bases(app, name, obj, options, bases):
    """In the place of private base classes, what those are derived from."""
    while private := [base for base in bases if inspect.isclass(base) and not is_public(base)]:
        at = bases.index(private[0])
        bases[at : at + 1] = private[0].__bases__


def setup(app):
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
