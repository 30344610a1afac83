# SPDX-License-Identifier: MIT
"""query-qmp-schema: asked for paths of members as libvirt does, and held
against what the daemon takes and gives."""

import json
import os
import subprocess

TYPES = {"string": str, "int": int, "boolean": bool, "number": (int, float),
         "null": type(None), "object": dict, "array": list, "value": object}


class Misfit(AssertionError):
    """A value that is not what the schema says, and where it is."""

    def __init__(self, where, what):
        super().__init__(f"{where}: {what}")
        self.where = where


class Schema:
    def __init__(self, entries, complete=True):
        self.complete = complete    # else members may be missing
        self.by_name = {entry["name"]: entry for entry in entries}
        assert len(self.by_name) == len(entries), "names are not unique"

    def type(self, entry, step):
        """The type that a step leads to, or None."""
        if entry["meta-type"] == "array":
            return self.type(self.by_name[entry["element-type"]], step)
        if entry["meta-type"] == "alternate":
            found = [self.type(self.by_name[m["type"]], step)
                     for m in entry["members"]]
            return next((f for f in found if f), None)
        if step.startswith("^"):
            return entry if step[1:] in entry.get("values", []) else None
        if step.startswith("+"):
            for variant in entry.get("variants", []):
                if variant["case"] == step[1:]:
                    return self.by_name[variant["type"]]
            return None
        for member in entry.get("members", []):
            if member.get("name") == step:
                return self.by_name[member["type"]]
        return None

    def has(self, path):
        name, *steps = path.split("/")
        entry = self.by_name.get(name)
        if entry and steps:
            entry = self.by_name[entry[steps.pop(0)]]
        for step in steps:
            entry = entry and self.type(entry, step)
        return entry is not None

    def check(self):
        """Everything that is named is there, and in the form it must be."""
        for entry in self.by_name.values():
            for key in ("arg-type", "ret-type", "element-type"):
                assert entry.get(key, "str") in self.by_name, entry
            for part in ("members", "variants"):
                for member in entry.get(part, []):
                    if entry["meta-type"] != "enum":
                        assert member["type"] in self.by_name, entry
            if "tag" in entry:
                (tag,) = [m for m in entry["members"]
                          if m["name"] == entry["tag"]]
                values = self.by_name[tag["type"]]["values"]
                cases = [v["case"] for v in entry["variants"]]
                assert set(cases) <= set(values), entry

    def fits(self, name, value, where):
        """Raises Misfit, or returns, by the type of that name."""
        entry = self.by_name[name]
        kind = entry["meta-type"]
        if kind == "array":
            self.require(isinstance(value, list), where, "no list")
            for i, item in enumerate(value):
                self.fits(entry["element-type"], item, f"{where}[{i}]")
        elif kind == "object":
            self.require(isinstance(value, dict), where, "no object")
            self.fits_object(entry, value, where)
        elif kind == "alternate":
            self.fits_alternate(entry, value, where)
        elif kind == "enum":
            self.require(value in entry["values"], where, f"{value!r}")
        else:
            wanted = entry["json-type"]
            self.require(isinstance(value, TYPES[wanted]) and
                         (wanted == "value" or
                          isinstance(value, bool) == (wanted == "boolean")),
                         where, f"{value!r} is no {wanted}")

    def fits_object(self, entry, value, where):
        members = {m["name"]: m for m in entry["members"]}
        if "tag" in entry:
            # the first value is the one that is meant where there is none
            tag = members[entry["tag"]]
            first = self.by_name[tag["type"]]["values"][0]
            case = value.get(entry["tag"], first)
            for variant in entry["variants"]:
                if variant["case"] == case:
                    more = self.by_name[variant["type"]]["members"]
                    members.update((m["name"], m) for m in more)
        for name in value:
            self.require(name in members, f"{where}.{name}", "not described")
        for name, member in members.items():
            if name in value:
                self.fits(member["type"], value[name], f"{where}.{name}")
            else:
                self.require("default" in member or not self.complete,
                             f"{where}.{name}", "missing")

    def fits_alternate(self, entry, value, where):
        misfits = []
        for member in entry["members"]:
            try:
                self.fits(member["type"], value, where)
            except Misfit as misfit:
                misfits.append(str(misfit))
            else:
                return
        raise Misfit(where, "; ".join(misfits))

    @staticmethod
    def require(condition, where, what):
        if not condition:
            raise Misfit(where, what)

    def fits_message(self, message, command=None, arguments=None):
        """An event, or the reply to a command: what was taken fits too."""
        if "event" in message:
            name = message["event"]
            self.fits(self.by_name[name]["arg-type"], message["data"], name)
        elif "return" in message:
            entry = self.by_name[command]
            self.fits(entry["arg-type"], arguments or {}, command)
            self.fits(entry["ret-type"], message["return"], command)
        else:
            error = message["error"]
            self.require({"class", "desc"} <= set(error) <=
                         {"class", "desc", "errno", "more"},
                         command, f"error {error}")
            for name, value in error.items():
                self.fits("str", value, f"{command}.{name}")


def of(build):
    """The schema of a build's daemon."""
    done = subprocess.run(
        [os.path.join(build, "blkgraphd"), "--threads", "1", "--chardev",
         "stdio,id=m", "--monitor", "m"], text=True, capture_output=True,
        check=True, input="".join(json.dumps({"execute": command}) for command
                                  in ("qmp_capabilities", "query-qmp-schema",
                                      "quit")))
    return Schema(json.loads(done.stdout.splitlines()[2])["return"])
