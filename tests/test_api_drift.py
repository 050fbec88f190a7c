"""Every name and keyword argument that the package takes from another package exists in the installed version.

The calls are read from the package's own source, so that none can be forgotten. A keyword that a function only
passes on (`**kwargs`) has to be known further down: named in that function's source, in a base class, or in what it
hands the keyword to (`PASSED_ON`).
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAST_MOVERS = {"trl", "peft", "transformers", "torch", "datasets", "papermill", "rensa", "tokenizers", "bitsandbytes"}
MODEL_LIBRARIES = {"trl", "peft", "transformers", "datasets", "tokenizers"}  # whose objects' methods are looked up too
NOT_READ = {"inside"}  # programs for the sandbox: no package is imported there
# Where `f(**kwargs)` sends what it doesn't name itself.
PASSED_ON = {
    "transformers.AutoModelForCausalLM.from_pretrained": ["transformers.PreTrainedModel.from_pretrained"],
    "transformers.AutoModelForCausalLM.from_config": ["transformers.PreTrainedModel._from_config"],
    "transformers.AutoTokenizer.from_pretrained": ["transformers.PreTrainedTokenizerBase"],
    "transformers.LlamaForCausalLM.generate": ["transformers.GenerationConfig"],
    "papermill.execute_notebook": [
        "papermill.engines.NBClientEngine.execute_managed_notebook", "papermill.clientwrap.PapermillNotebookClient",
    ],
}  # fmt: skip
# What the package's variables of these names hold, in the modules that import a model library.
INSTANCES = {
    "tokenizer": "transformers.PreTrainedTokenizerFast",
    "model": "transformers.LlamaForCausalLM",
    "forward": "transformers.LlamaForCausalLM",  # the model, compiled or not
    "trainer": "trl.SFTTrainer",
}
CALLED = {"transformers.LlamaForCausalLM": "forward"}  # instead of `__call__`, which takes everything
RETURNED = ("torch.optim.Optimizer", "httpx.Client")  # classes of objects that no import names


@dataclass(frozen=True)
class Call:
    """where: "file:line"; target: "package.name", or ".method" of an object that is not known."""

    where: str
    target: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Module:
    path: str
    tree: ast.Module

    @functools.cached_property
    def imported(self) -> dict[str, str]:
        """{name here: full name} of everything imported from outside, at whatever level."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]  # `import a.b` binds a
                    found[alias.asname or whole] = whole
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return {short: full for short, full in found.items() if not full.startswith("cogumi_utils")}

    @property
    def packages(self) -> set[str]:
        return {full.partition(".")[0] for full in self.imported.values()}

    @functools.cached_property
    def local_names(self) -> set[str]:
        """Functions and classes from here or from another module of the package: Python itself checks those calls."""
        kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
        own = {node.name for node in ast.walk(self.tree) if isinstance(node, kinds)}
        inside = [node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom)]
        inside = [node for node in inside if (node.module or "").startswith("cogumi_utils")]
        return own | {alias.asname or alias.name for node in inside for alias in node.names}

    def calls(self) -> Iterator[Call]:
        for node in ast.walk(self.tree):
            keywords = tuple(word.arg for word in node.keywords if word.arg) if isinstance(node, ast.Call) else ()
            if keywords and (target := self.target(node.func)):
                yield Call(f"{self.path}:{node.lineno}", target, keywords)

    def target(self, function: ast.expr) -> str:
        """ "" where the call needs no look: the standard library, or the package's own functions."""
        name, root = ast.unparse(function), function
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id in self.imported:
            full = self.imported[root.id] + name.removeprefix(root.id)
            return "" if full.partition(".")[0] in sys.stdlib_module_names else full
        if isinstance(function, ast.Attribute):
            owner = ast.unparse(function.value)
            local = isinstance(root, ast.Name) and root.id in self.local_names
            return "" if local else f"{INSTANCES.get(owner, '')}.{function.attr}"
        if name in self.local_names or hasattr(builtins, name):
            return ""
        held = INSTANCES.get(name, "?")
        return f"{held}.{CALLED.get(held, '__call__')}"


@functools.cache
def modules() -> list[Module]:
    paths = [path for path in (ROOT / "cogumi_utils").rglob("*.py") if path.parent.name not in NOT_READ]
    return [Module(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in sorted(paths)]


def resolve(full: str) -> Any:
    """The object of a full name; AttributeError or ImportError where it is gone."""
    parts, missing = full.split("."), AttributeError(full)
    # the whole name last: a module that is called like its class would take the class's place in the package
    for cut in [*range(len(parts) - 1, 0, -1), len(parts)]:
        try:
            return functools.reduce(getattr, parts[cut:], importlib.import_module(".".join(parts[:cut])))
        except AttributeError as error:
            missing = error
        except ModuleNotFoundError as error:
            if error.name and not full.startswith(error.name):
                raise
    raise missing


def accepts(function: Callable, keyword: str, also: tuple[str, ...] = ()) -> bool:
    """Whether `function` takes `keyword` itself, or passes it on to something that knows it."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # written in C: its documentation begins with the signature
        return bool(re.search(rf"\b{keyword}\s*=", (function.__doc__ or "").partition("\n\n")[0]))
    if keyword in parameters:
        return parameters[keyword].kind is not inspect.Parameter.POSITIONAL_ONLY
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return False
    behind = [resolve(name) for name in also]
    if inspect.ismethod(function) and inspect.isclass(function.__self__):
        behind.append(function.__self__)  # a class method hands it to the constructor
    return any(keyword in words_of(one) for one in (function, *behind))


@functools.cache
def words_of(function: Callable) -> frozenset[str]:
    """Parameters and quoted words in the source; of a class those of all its constructors, and its own attributes."""
    if inspect.isclass(function):
        made = [vars(base)["__init__"] for base in function.__mro__ if "__init__" in vars(base) and base is not object]
        traits = function.class_trait_names() if hasattr(function, "class_trait_names") else ()
        attributes = vars(function()) if function.__name__.endswith("Config") else ()
        fields = getattr(function, "SPECIAL_TOKENS_ATTRIBUTES", ())
        words = (words_of(one) for one in made if hasattr(one, "__code__"))
        return frozenset().union(*words, traits, attributes, fields)
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except OSError:  # a dataclass writes its constructor itself
        source = ""
    return frozenset({*re.findall(r"""["'](\w+)["']""", source), *inspect.signature(function).parameters})


def refused(call: Call) -> list[str]:
    """The keywords of a call that nothing takes."""
    if not call.target.startswith("."):
        function, also = resolve(call.target), tuple(PASSED_ON.get(call.target, ()))
        return [keyword for keyword in call.keywords if not accepts(function, keyword, also)]
    owners = [name for name, kind in known_classes().items() if hasattr(kind, call.target[1:])]
    whole = [Call(call.where, name + call.target, call.keywords) for name in owners]
    return [] if any(not refused(one) for one in whole) else list(call.keywords)


@functools.cache
def known_classes() -> dict[str, type]:
    """Every class that a module on the model libraries imports from outside, and `RETURNED`."""
    names = {full for module in modules() if module.packages & MODEL_LIBRARIES for full in module.imported.values()}
    found = {name: resolve(name) for name in sorted({*names, *RETURNED})}
    return {name: kind for name, kind in found.items() if inspect.isclass(kind)}


def calls() -> list[Call]:
    """All calls with keywords into other packages; methods where a model library is at hand."""
    return [
        call
        for module in modules()
        for call in module.calls()
        if call.target[0] not in ".?" or module.packages & MODEL_LIBRARIES
    ]


CALLS = calls()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.where}:{call.target}")
def test_every_keyword_is_known_and_a_made_up_one_is_not(call):
    assert not call.target.startswith("?"), f"what is called at {call.where}? Name it in INSTANCES"
    assert refused(call) == []
    made_up = Call(call.where, call.target, ("no_such_argument",))
    assert refused(made_up) == ["no_such_argument"], "whatever is passed there would seem right"


def test_every_name_that_is_imported_exists():
    for module in modules():
        for full in module.imported.values():
            if full.partition(".")[0] in FAST_MOVERS:
                resolve(full)


def test_the_calls_that_matter_were_found():
    """Of the libraries that move fastest each is looked at; a search that finds nothing would pass everything."""
    found = {call.target for call in CALLS}
    assert found >= {
        "trl.SFTConfig", "trl.SFTTrainer", "trl.SFTTrainer.train", "peft.LoraConfig", "torch.optim.Muon",
        "transformers.BitsAndBytesConfig", "transformers.LlamaConfig", "transformers.LlamaForCausalLM.generate",
        "transformers.LlamaForCausalLM.forward", "transformers.PreTrainedTokenizerFast.__call__",
        "transformers.PreTrainedTokenizerFast.apply_chat_template", "papermill.execute_notebook",
    }  # fmt: skip
    imported = {full.partition(".")[0] for module in modules() for full in module.imported.values()}
    assert imported >= FAST_MOVERS
    assert len(CALLS) > 100


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("from trl import SFTConfig\nSFTConfig(max_seq_length=1, packing=True)", ["max_seq_length"]),
        ("from transformers import TrainingArguments as A\nA(evaluation_strategy='no')", ["evaluation_strategy"]),
        ("import peft\npeft.LoraConfig(rank=1, r=2)", ["rank"]),
        ("import torch\ntorch.optim.Muon([], lr=1, nesterov_steps=2)", ["nesterov_steps"]),
        ("import torch\ntorch.ones(1, device='cpu', devise='cpu')", ["devise"]),
        ("from rensa import RMinHash\nRMinHash(num_perm=1, seed=2, bands=3)", ["bands"]),
        ("model.save_pretrained('x', safe_serialization=True)", ["safe_serialization"]),
        ("model.generate(max_new_tokens=1, max_tokens=2)", ["max_tokens"]),
        ("something.no_such_method(a=1)", ["a"]),
        ("tokenizer('x', add_special_tokens=False, pad=True)", ["pad"]),
    ],
)
def test_drift_is_seen(text, unknown):
    (call,) = Module("text", ast.parse(text)).calls()
    assert refused(call) == unknown


def test_what_is_gone_is_an_error():
    with pytest.raises((ImportError, AttributeError)):
        resolve("trl.ConstantLengthDataset")
    with pytest.raises((ImportError, AttributeError)):
        resolve("transformers.no_such_module.Thing")
