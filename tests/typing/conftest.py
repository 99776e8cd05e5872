"""What is here is for a type checker; `tests/test_typing.py` looks at it."""

collect_ignore_glob = ["*.py"]
