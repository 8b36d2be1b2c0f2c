#!/usr/bin/env python3
"""Makes templates.json: what Python's Jinja2, set up as transformers does it, makes of chat templates.

    python3 tests/vectors/make_templates.py [-v] [SHARED]

SHARED (default: NIBBLE_SHARED, or ../shared beside the checkout) holds templates/*.jinja under data. Those are of third parties: of what they
give, the length and hash alone are kept. The small templates of template_cases.json are ours, and their output is kept in full.
-v tells why a template refuses.
"""
import datetime
import hashlib
import json
import os
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2024, 7, 4, 15, 6, 7)


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what the model wrote; it renders to its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Refused(Exception):
    pass


def raise_exception(message):
    raise Refused(message)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(source, context):
    """The text, or None where the template refuses or fails."""
    try:
        return environment().from_string(source).render(**{"tools": None, "documents": None, "add_generation_prompt": False, **context}), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def main():
    arguments = [a for a in sys.argv[1:] if a != "-v"]
    shared = arguments[0] if arguments else os.environ.get("NIBBLE_SHARED", os.path.join(HERE, "..", "..", "..", "shared"))
    folder = os.path.join(shared, "data", "templates")
    with open(os.path.join(HERE, "template_cases.json"), encoding="utf-8") as f:
        cases = json.load(f)
    out = {"now": NOW.isoformat(), "shipped": {}, "own": {}}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8", newline="") as f:
            source = f.read()
        results = out["shipped"][name] = {}
        for key, context in cases["conversations"].items():
            text, why = render(source, context)
            if "-v" in sys.argv and why:
                print(name, key, why, file=sys.stderr)
            results[key] = None if text is None else [len(text.encode()), hashlib.sha256(text.encode()).hexdigest()]
    for name, case in cases["own"].items():
        text, why = render(case["template"], case.get("context", {}))
        if text is None and not case.get("fails"):
            sys.exit(f"{name}: {why}")
        out["own"][name] = text
    with open(os.path.join(HERE, "templates.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, indent=1, ensure_ascii=False)
        f.write("\n")


if __name__ == "__main__":
    main()
