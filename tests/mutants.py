"""Mutation testing: changes one thing at a time, and prints the changes that no test notices.

    python -m tests.mutants keras_cyclic/profiles.py
    python -m tests.mutants keras_cyclic/schedules/clock.py

Each mutant has a process of its own, forked after the imports that take long. Tests run eagerly.
"""

import ast
import copy
import importlib.machinery
import importlib.util
import os
import pathlib
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis  # noqa: F401
import mpmath  # noqa: F401
import pytest
import tensorflow as tf

TESTS = [
    "tests/test_profiles.py",
    *(
        f"tests/schedules/test_{name}.py"
        for name in ("clock", "bad_input", "exactness", "steps", "restarts", "cycles")
    ),
]
# What runs compiled, trains or takes long says nothing more of the arithmetic.
LEFT_OUT = "not graph and not xla and not training and not hundred"
MOST_SECONDS = 200

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
FUNCTIONS = {
    "min": "max",
    "minimum": "maximum",
    "exp": "expm1",
    "log1p": "log",
    "sin": "cos",
    "floor": "ceil",
    "fall": "rise",
}
FUNCTIONS |= {new: old for old, new in FUNCTIONS.items()}


def changed(node, **fields):
    new = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def constants(node):
    value = node.value
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1] if value else [1]
    if isinstance(value, float):
        return [value * 1.5 + 0.25]
    return ["XX"] if isinstance(value, str) else []


def mutants_of(node):
    """What may stand in place of a node of the syntax tree."""
    if isinstance(node, ast.Constant):
        yield from (changed(node, value=value) for value in constants(node))
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield changed(node, ops=ops)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield changed(node, op=OPERATORS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        yield changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.If):
        yield from (changed(node, test=ast.Constant(test)) for test in (False, True))
    elif isinstance(node, ast.Attribute) and node.attr in FUNCTIONS:
        yield changed(node, attr=FUNCTIONS[node.attr])
    elif isinstance(node, ast.Name) and node.id in FUNCTIONS:
        yield changed(node, id=FUNCTIONS[node.id])
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.Raise)):
        yield ast.Pass()
    elif isinstance(node, ast.Return) and not isinstance(node.value, ast.Constant):
        yield changed(node, value=ast.Constant(None))


def code_in(node):
    """A node and all in it that computes: no docstrings, type hints, decorators or messages."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr)):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    yield node
    if isinstance(node, ast.Raise):
        return
    for name, value in ast.iter_fields(node):
        if name not in ("decorator_list", "annotation", "returns"):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    yield from code_in(part)


class Replace(ast.NodeTransformer):
    def __init__(self, old, new):
        self.old = old
        self.new = new

    def visit(self, node):
        return self.new if node is self.old else self.generic_visit(node)


def mutants(source):
    """The line, the old code, the new code and the tree of each mutant."""
    for place, node in enumerate(code_in(ast.parse(source))):
        for new in mutants_of(node):
            tree = ast.parse(source)
            old = list(code_in(tree))[place]
            tree = ast.fix_missing_locations(Replace(old, new).visit(tree))
            first_lines = [ast.unparse(each).partition("\n")[0] for each in (node, new)]
            yield node.lineno, *first_lines, tree


class Loader(importlib.machinery.SourceFileLoader):
    """Loads the mutant, and all other modules as they are."""

    def __init__(self, name, path, tree):
        super().__init__(name, path)
        self.tree = tree

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.path, loader=self)
        return None

    def get_code(self, fullname):
        return compile(self.tree, self.path, "exec")


def exit_status(path, tree):
    """Of the tests with the mutant; negative if it was too slow."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    signal.alarm(MOST_SECONDS)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    name = ".".join(pathlib.PurePath(path).with_suffix("").parts)
    sys.meta_path.insert(0, Loader(name, path, tree))
    tf.config.run_functions_eagerly(True)
    options = ["-x", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts="]
    try:
        status = pytest.main([*options, "-k", LEFT_OUT, *TESTS])
    except BaseException:
        status = 99
    os._exit(int(status))


def main(path):
    source = pathlib.Path(path).read_text(encoding="utf-8")
    assert exit_status(path, ast.parse(source)) == 0, "the tests must pass without a mutant"
    count = survivors = 0
    for line, old, new, tree in mutants(source):
        count += 1
        if exit_status(path, tree) == 0:
            survivors += 1
            print(f"{path}:{line}: {old}  ->  {new}", flush=True)
    print(f"{count} mutants, {count - survivors} killed, {survivors} survived")


if __name__ == "__main__":
    main(sys.argv[1])
