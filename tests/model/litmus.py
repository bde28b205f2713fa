#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""litmus.py SHIM: small races of shim/, tried in every order on a machine with weak memory.

Each race is a few stores and loads of two or three threads, and an outcome that must not be. Their
orders (release, seq_cst, a fence or none) are read from the source: who changes one there, changes
it here. Then each is taken away in turn, and the outcome must be found: so none is there in vain,
and the machine is weak enough to need it.

The machine: stores to a place stand in an order of their own, its history. A thread has a view: how
far it has come in each history. A load takes any store from there on, so threads see stores late and
in different orders, and a store may come to stand before another's. A store that releases carries
its thread's view, which a load that acquires takes over. A seq_cst fence takes over the views of
all such fences before it. All seq_cst stores have one more history; a seq_cst load does not go back
behind those of its place that its thread has come past there. This is C11's model without loads that
see stores which their own thread's next ones have led to (load buffering), on which no race here
turns. The lock hands on the view of who had it; it is no fence.
"""
import pathlib
import re
import sys

shim = pathlib.Path(sys.argv[1])


# The source

def function(file, name):
    """The text of a function, without comments."""
    text = re.sub(r"/\*.*?\*/", "", (shim / file).read_text(), flags=re.S)
    found = re.search(rf"^[^\n;]*\b{name}\([^;{{]*\) \{{\n.*?^\}}", text, re.S | re.M)
    if not found:
        sys.exit(f"{file} has no {name}()")
    return found.group()


def order(file, name, what):
    """Of the first statement there that does this. An _Atomic that is used plainly is seq_cst."""
    for statement in function(file, name).split(";"):
        found = re.search(what, statement)
        if found:
            orders = re.findall(r"memory_order_(\w+)|__ATOMIC_(\w+)", statement[found.start():])
            return (orders[0][0] or orders[0][1]).lower() if orders else "seq_cst"
    sys.exit(f"{file}: {name}() has no {what}")


def fence(file, name):
    """None: there is none."""
    found = re.search(r"atomic_thread_fence\(memory_order_(\w+)\)", function(file, name))
    return found and found.group(1)


def unlisted():
    """Atomics that docs/memory-order.md does not name: as declared, or as __atomic_ built-ins use them."""
    document = (shim / "../docs/memory-order.md").read_text()
    listed = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", document))))
    names = set()
    for file in [*shim.rglob("*.[ch]"), shim / "../record/record.c"]:
        text = re.sub(r"/\*.*?\*/|enum \{.*?\}|##", "", file.read_text(), flags=re.S)
        declared = r"^(?!typedef).*\b(?:_Atomic(?:\([^()]*\))?|atomic_(?:bool|u?int)) *([^();=]+)[;=]"
        for line in re.findall(declared, text, re.M):
            names |= set(re.findall(r"(\w+)(?:\[[^]]*\])?(?: KAIO_WIPED)? ?(?:,|$)", line))
        names |= {re.findall(r"\w+", operand)[-1] for operand in re.findall(r"__atomic_\w+\(([^,]*),", text)}
    return sorted(names - listed)


# The machine

def join(a, b):
    return tuple(map(max, a, b))


def at(view, place, t):
    place %= len(view)
    return view[:place] + (t,) + view[place + 1:]


class Machine:
    """A state: what has been stored, and how far each thread has come. Copied before each step."""

    def __init__(self, threads, places):
        none = (0,) * (len(places) + 1)  # the last: of seq_cst stores
        self.history = tuple(((value, none, False),) for value in places.values())  # value, view, of an RMW
        self.pc = (0,) * threads
        self.regs = ((),) * threads
        self.now = self.released = self.seen = (none,) * threads  # views
        self.fences = self.lock_view = none
        self.strong = ()  # seq_cst stores: place, t
        self.holder = None

    def copy(self):
        other = object.__new__(Machine)
        other.__dict__.update(self.__dict__)
        return other

    def key(self):
        return tuple(self.__dict__.values())

    def put(self, name, thread, value):
        old = getattr(self, name)
        setattr(self, name, old[:thread] + (value,) + old[thread + 1:])

    def insert(self, place, t, message):
        """A store becomes the t-th of its place; who has seen later ones has seen them still."""
        def shift(view):
            return at(view, place, view[place] + 1) if view[place] >= t else view
        self.history = tuple(tuple((v, shift(view), rmw) for v, view, rmw in h) for h in self.history)
        for name in ("now", "released", "seen"):
            setattr(self, name, tuple(map(shift, getattr(self, name))))
        for name in ("fences", "lock_view"):
            setattr(self, name, shift(getattr(self, name)))
        self.strong = tuple((p, s + (p == place and s >= t)) for p, s in self.strong)
        h = self.history[place]
        value, view, rmw = message
        self.history = self.history[:place] + (h[:t] + ((value, shift(view), rmw),) + h[t:],) + self.history[place + 1:]

    def first(self, thread, place, how):
        """The oldest store that the thread may load; it may store behind that."""
        view = self.now[thread]
        strong = self.strong[:view[-1]] if how == "seq_cst" else ()
        return max([view[place]] + [t for p, t in strong if p == place])

    def load(self, thread, place, how):
        """All outcomes: (state, value, t)."""
        h = self.history[place]
        first = self.first(thread, place, how)
        for t in range(first, len(h)):
            m = self.copy()
            value, view, _ = h[t]
            now = at(m.now[thread], place, t)
            m.put("seen", thread, join(m.seen[thread], join(now, view)))
            m.put("now", thread, join(now, view) if how in ("acquire", "acq_rel", "seq_cst") else now)
            yield m, value, t

    def store(self, thread, place, value, how, t=None, view=None):
        """All outcomes; t: behind this one, which an RMW has read together with its view."""
        if how == "seq_cst":  # the last of them, so far
            self = self.copy()
            self.put("now", thread, at(self.now[thread], -1, len(self.strong)))
        h = self.history[place]
        first = self.first(thread, place, how)
        for t_new in range(first + 1, len(h) + 1) if t is None else (t + 1,):
            if t_new < len(h) and h[t_new][2]:
                continue  # nothing comes between an RMW and what it has read
            m = self.copy()
            if how == "seq_cst":
                m.put("now", thread, at(m.now[thread], -1, len(m.strong) + 1))
            carried = m.now[thread] if how in ("release", "acq_rel", "seq_cst") else m.released[thread]
            m.insert(place, t_new, (value, join(carried, view) if view else carried, t is not None))
            if how == "seq_cst":
                m.strong += ((place, t_new),)
            _, carried, rmw = m.history[place][t_new]
            h_new = m.history[place]
            m.history = (m.history[:place] +
                         (h_new[:t_new] + ((value, at(carried, place, t_new), rmw),) + h_new[t_new + 1:],) +
                         m.history[place + 1:])
            m.put("now", thread, at(m.now[thread], place, t_new))
            m.put("seen", thread, join(m.seen[thread], m.now[thread]))
            yield m

    def step(self, thread, op, places):
        """All states after this operation; none: it waits."""
        kind = op[0]
        regs = dict(self.regs[thread])

        def went(m, reg=None, value=None):
            m.put("pc", thread, m.pc[thread] + 1)
            if reg:
                m.put("regs", thread, tuple(sorted({**regs, reg: value}.items())))
            return m

        if kind == "store":
            for m in self.store(thread, places[op[1]], op[2], op[3]):
                yield went(m)
        elif kind in ("load", "await"):
            for m, value, _ in self.load(thread, places[op[2]], op[3]):
                if kind == "load" or value == op[4]:
                    yield went(m, op[1], value)
        elif kind == "rmw":  # op[3]: the new value, of the old one; None: the exchange fails
            for m, value, t in self.load(thread, places[op[2]], op[4]):
                new = op[3](value)
                h = m.history[places[op[2]]]
                if new is None:
                    yield went(m, op[1], value)
                elif t + 1 == len(h) or not h[t + 1][2]:
                    for n in m.store(thread, places[op[2]], new, op[4], t, h[t][1]):
                        yield went(n, op[1], value)
        elif kind == "fence":
            m = self.copy()
            if op[1] in ("seq_cst", "acquire", "acq_rel"):
                m.put("now", thread, join(m.now[thread], m.seen[thread]))
            if op[1] == "seq_cst":
                m.fences = join(m.fences, m.now[thread])
                m.put("now", thread, m.fences)
                m.put("seen", thread, join(m.seen[thread], m.fences))
            if op[1] in ("seq_cst", "release", "acq_rel"):
                m.put("released", thread, m.now[thread])
            yield went(m)
        elif kind == "lock":
            if self.holder is None:
                m = self.copy()
                m.holder = thread
                m.put("now", thread, join(m.now[thread], m.lock_view))
                m.put("seen", thread, join(m.seen[thread], m.now[thread]))
                yield went(m)
        elif kind == "unlock":
            m = self.copy()
            m.holder, m.lock_view = None, m.now[thread]
            yield went(m)
        elif kind == "unless":  # the thread ends here, unless
            m = self.copy()
            went(m)
            if not op[1](regs):
                m.put("pc", thread, 1000)
            yield m


def outcomes(places, threads):
    """What the threads have loaded, in all ends; places: their first values."""
    index = {name: i for i, name in enumerate(places)}
    todo, known, ends = [Machine(len(threads), places)], set(), set()
    while todo:
        state = todo.pop()
        moved = False
        for i, ops in enumerate(threads):
            if state.pc[i] >= len(ops):
                continue
            for m in state.step(i, ops[state.pc[i]], index):
                moved = True
                key = m.key()
                if key not in known:
                    known.add(key)
                    todo.append(m)
        if not moved:
            ends.add(tuple(r for regs in state.regs for r in regs))
    return len(known), [dict(e) for e in ends]


# What any such machine must allow and forbid

def st(place, how="relaxed", value=1):
    return ("store", place, value, how)


def ld(reg, place, how="relaxed"):
    return ("load", reg, place, how)


def add(reg, how="relaxed"):
    return ("rmw", reg, "x", lambda old: old + 1, how)


SC, FENCE = "seq_cst", ("fence", "seq_cst")
known = [  # allowed?, the threads, the outcome
    (False, [[st("x")], [ld("a", "x"), ld("b", "x")]], dict(a=1, b=0)),  # coherence
    (False, [[st("x")], [st("x", value=2)], [ld("a", "x"), ld("b", "x")], [ld("c", "x"), ld("d", "x")]],
     dict(a=1, b=2, c=2, d=1)),
    (True, [[st("x"), st("y")], [ld("a", "y"), ld("b", "x")]], dict(a=1, b=0)),  # message passing
    (True, [[st("x"), st("y", "release")], [ld("a", "y"), ld("b", "x")]], dict(a=1, b=0)),
    (True, [[st("x"), st("y")], [ld("a", "y", "acquire"), ld("b", "x")]], dict(a=1, b=0)),
    (False, [[st("x"), st("y", "release")], [ld("a", "y", "acquire"), ld("b", "x")]], dict(a=1, b=0)),
    (False, [[st("x"), ("fence", "release"), st("y")], [ld("a", "y"), ("fence", "acquire"), ld("b", "x")]],
     dict(a=1, b=0)),
    (False, [[st("y"), st("x", "release")], [add("r")], [ld("a", "x", "acquire"), ld("b", "y")]], dict(r=1, a=2, b=0)),
    (True, [[st("x", "release"), ld("a", "y", "acquire")], [st("y", "release"), ld("b", "x", "acquire")]],
     dict(a=0, b=0)),
    (False, [[st("x", SC), ld("a", "y", SC)], [st("y", SC), ld("b", "x", SC)]], dict(a=0, b=0)),  # store buffering
    (False, [[st("x"), FENCE, ld("a", "y")], [st("y"), FENCE, ld("b", "x")]], dict(a=0, b=0)),
    (True, [[st("x"), FENCE, ld("a", "y")], [st("y"), ld("b", "x")]], dict(a=0, b=0)),
    (True, [[add("r", "acq_rel"), ld("a", "y")], [st("y"), FENCE, ld("b", "x")]], dict(a=0, b=0)),  # an RMW is no fence
    (True, [[st("x"), st("y", value=2)], [st("y"), st("x", value=2)],
            [ld("a", "x"), ld("b", "x")], [ld("c", "y"), ld("d", "y")]], dict(a=2, b=1, c=2, d=1)),
    (True, [[st("x")], [st("y")], [ld("a", "x", "acquire"), ld("b", "y")], [ld("c", "y", "acquire"), ld("d", "x")]],
     dict(a=1, b=0, c=1, d=0)),  # two see two stores in different orders
    (False, [[st("x", SC)], [st("y", SC)], [ld("a", "x", SC), ld("b", "y", SC)], [ld("c", "y", SC), ld("d", "x", SC)]],
     dict(a=1, b=0, c=1, d=0)),
    (False, [[add("a")], [add("b")]], dict(a=0, b=0)),
    (False, [[("lock",), add("a"), st("y"), ("unlock",)], [("lock",), ld("b", "y"), ld("c", "x"), ("unlock",)]],
     dict(b=1, c=0)),
]


# The races

races = []


def race(what, places, orders, threads, bad):
    """places: first values; orders: by name, as the source has them; threads: of these, the operations; bad: an end."""
    races.append((what, places, orders, threads, bad))


PLAIN = "relaxed"  # a member without an order of its own
AWAKE, ON_EVENTFD, ON_FUTEX = 1, 0, 2

race("a thread falls asleep while its request ends",
     {"sleep": AWAKE, "status": 0},
     {"arm_own() fence": fence("core/wait.c", "arm_own"),
      "wake_submitter() fence": fence("core/finish.c", "wake_submitter")},
     lambda o: [[("store", "sleep", ON_FUTEX, order("core/wait.c", "fall_asleep", "->sleep")),
                 ("fence", o["arm_own() fence"]),
                 ("load", "status", "status", order("request/request.h", "kaio_status", "__error_code"))],
                [("lock",),
                 ("store", "status", 1, order("core/finish.c", "publish", "__error_code")),
                 ("fence", o["wake_submitter() fence"]),
                 ("load", "sleep", "sleep", order("core/finish.c", "wake_submitter", "->sleep")),
                 ("unlock",)]],
     lambda r: r["status"] == 0 and r["sleep"] == AWAKE)

race("a thread falls asleep while it gets an eventfd",
     {"efd": -1, "sleep": AWAKE},
     {"arm_own() fence": fence("core/wait.c", "arm_own"),
      "kaio_thread_efd() fence": fence("host/thread.c", "kaio_thread_efd")},
     lambda o: [[("load", "before", "efd", order("core/wait.c", "arm_own", "= self->efd")),
                 ("store", "sleep", ON_FUTEX, order("core/wait.c", "fall_asleep", "->sleep")),
                 ("fence", o["arm_own() fence"]),
                 ("load", "after", "efd", order("core/wait.c", "arm_own", "self->efd != efd"))],
                [("lock",),
                 ("store", "efd", 40, order("host/thread.c", "kaio_thread_efd", "thread->efd = efd")),
                 ("fence", o["kaio_thread_efd() fence"]),
                 ("load", "sleep", "sleep", order("host/thread.c", "kaio_thread_wake_later", "->sleep")),
                 ("unlock",)]],
     lambda r: r["before"] == r["after"] == -1 and r["sleep"] == AWAKE)

race("who wakes a thread that has just got an eventfd",
     {"efd": -1, "sleep": ON_FUTEX},
     {"fall_asleep() sleep": order("core/wait.c", "fall_asleep", "->sleep"),
      "kaio_thread_wake() sleep": order("host/thread.c", "kaio_thread_wake", "->sleep")},
     lambda o: [[("store", "efd", 40, order("host/thread.c", "kaio_thread_efd", "thread->efd = efd"))],
                [("await", "own", "efd", order("core/wait.c", "fall_asleep", "->efd"), 40),
                 ("store", "sleep", ON_EVENTFD, o["fall_asleep() sleep"])],
                [("rmw", "sleep", "sleep", lambda old: AWAKE, o["kaio_thread_wake() sleep"]),
                 ("load", "efd", "efd", order("host/thread.c", "kaio_thread_wake", "thread->efd"))]],
     lambda r: r.get("sleep") == ON_EVENTFD and r["efd"] == -1)

race("an aiocb is used again while another thread still waits for what it was",
     {"sleep": AWAKE, "status": 1, "submitter": 0},  # status 1: thread 0's request, 2: its end, 3: thread 2's
     {"kaio_req_fill() status": order("request/request.c", "kaio_req_fill", "__error_code"),
      "kaio_status() status": order("request/request.h", "kaio_status", "__error_code"),
      "arm_own() fence": fence("core/wait.c", "arm_own"),
      "wake_submitter() fence": fence("core/finish.c", "wake_submitter")},
     lambda o: [[("store", "sleep", ON_FUTEX, order("core/wait.c", "fall_asleep", "->sleep")),
                 ("fence", o["arm_own() fence"]),
                 ("load", "status", "status", o["kaio_status() status"]),
                 ("load", "submitter", "submitter", order("core/wait.c", "arm_own", "->submitter"))],
                [("store", "status", 2, order("core/finish.c", "publish", "__error_code")),
                 ("fence", o["wake_submitter() fence"]),
                 ("load", "sleep", "sleep", order("core/finish.c", "wake_submitter", "->sleep"))],
                [("await", "seen", "status", order("request/request.h", "kaio_status", "__error_code"), 2),
                 ("store", "submitter", 2, order("request/request.c", "kaio_req_fill", "->submitter")),
                 ("store", "status", 3, o["kaio_req_fill() status"])]],
     lambda r: r["status"] != 2 and r["submitter"] == 0 and r["sleep"] == AWAKE)

race("a number is taken away while its thread falls asleep there",
     {"polled": 0, "efd": 40},
     {"kaio_thread_polls() polled": order("host/thread.c", "kaio_thread_polls", "->polled"),
      "kaio_thread_polls() efd": order("host/thread.c", "kaio_thread_polls", "->efd"),
      "kaio_fd_evade() efd": order("host/ours.c", "kaio_fd_evade", r"atomic_store\w*\(ours"),
      "await_polls() polled": order("host/ours.c", "await_polls", "->polled")},
     lambda o: [[("store", "polled", 40, o["kaio_thread_polls() polled"]),
                 ("load", "efd", "efd", o["kaio_thread_polls() efd"])],
                [("store", "efd", 41, o["kaio_fd_evade() efd"]),
                 ("load", "polled", "polled", o["await_polls() polled"])]],
     lambda r: r["efd"] == 40 and r["polled"] == 0)

race("the reaper goes while a short way begins",
     {"runs": True, "load": 0},
     {"enter_kernel() load": order("lanes/direct.c", "enter_kernel", r"compare_exchange"),
      "take_from_stock() runs": order("lanes/direct.c", "take_from_stock", "kaio_reaper.runs"),
      "retire() runs": order("core/reaper.c", "retire", "kaio_reaper.runs, false"),
      "retire() load": order("core/reaper.c", "retire", "kaio_context.load")},
     lambda o: [[("rmw", "old", "load", lambda old: old + 1, o["enter_kernel() load"]),
                 ("load", "runs", "runs", o["take_from_stock() runs"])],
                [("lock",),
                 ("store", "runs", False, o["retire() runs"]),
                 ("load", "load", "load", o["retire() load"]),
                 ("unlock",)]],
     lambda r: r["runs"] and r["load"] == 0)

for name, file in (("event", "lanes/kernel.c"), ("flight", "request/flight.c"), ("kaio_req_find", "request/request.c")):
    race(f"a request of the short way is seen by {name}()",
         {"state": 0, "member": 0, "place": 0, "calling": 0},
         {"prepare_short() state": order("lanes/direct.c", "prepare_short", "->state"),
          f"{name}() state": order(file, name, "->state")},
         lambda o, name=name: [
             [("store", "calling", 1, order("lanes/direct.c", "kaio_direct_submit", "->calling, cb")),
              ("rmw", "free", "place", lambda old: 1, order("request/flight.c", "kaio_flight_place", "exchange")),
              ("store", "member", 1, PLAIN),
              ("store", "state", 1, o["prepare_short() state"])],
             [("lock",),
              ("load", "state", "state", o[f"{name}() state"]),
              ("unless", lambda r: r["state"] == 1),
              ("load", "member", "member", PLAIN),
              ("load", "place", "place", order("request/flight.c", "kaio_flight_remove", "atomic_load")),
              ("load", "calling", "calling", order("request/request.h", "kaio_is_calling", "->calling"))]],
         lambda r: r["state"] == 1 and not (r["member"] and r["place"] and r["calling"]))

for name, file in (("publish", "core/finish.c"), ("kaio_copy_read", "lanes/copy.c"), ("reject", "api.c")):
    race(f"an end is seen that {name}() stores",
         {"bytes": 0, "return": 0, "status": 0},
         {f"{name}() status": order(file, name, "__error_code"),
          "kaio_status() status": order("request/request.h", "kaio_status", "__error_code")},
         lambda o, name=name, file=file: [
             [("store", "bytes", 1, PLAIN),
              ("store", "return", 1, order(file, name, "__return_value")),
              ("store", "status", 1, o[f"{name}() status"])],
             [("await", "status", "status", o["kaio_status() status"], 1),
              ("load", "return", "return", order("api.c", "aio_return", "__return_value")),
              ("load", "bytes", "bytes", PLAIN)]],
         lambda r: r.get("status") == 1 and not (r["return"] and r["bytes"]))

race("a signal cannot be sent, and the status changes",
     {"sending": False, "status": 0},  # 1: the first status, 2: the last
     {"publish() status": order("core/finish.c", "publish", "__error_code"),
      "publish() sending": order("core/finish.c", "publish", "kaio_sending, false"),
      "kaio_status() status": order("request/request.h", "kaio_status", "__error_code"),
      "kaio_is_sending() sending": order("core/core.h", "kaio_is_sending", "kaio_sending")},
     lambda o: [[("store", "sending", True, order("core/finish.c", "publish", "kaio_sending, true")),
                 ("store", "status", 1, o["publish() status"]),
                 ("store", "status", 2, order("core/finish.c", "publish", r"__error_code, \(int\)-res")),
                 ("store", "sending", False, o["publish() sending"])],
                [("load", "first", "status", o["kaio_status() status"]),
                 ("load", "sending", "sending", o["kaio_is_sending() sending"]),
                 ("unless", lambda r: r["first"] and not r["sending"]),
                 ("load", "last", "status", o["kaio_status() status"])]],
     lambda r: r.get("last", 2) != 2)


def publication(what, stored, loaded):
    """stored, loaded: file, function, statement: what came before the one is seen behind the other."""
    stores, loads = f"stored in {stored[1]}()", f"loaded in {loaded[1]}()"
    race(what,
         {"flag": 0, "rest": 0},
         {stores: order(*stored), loads: order(*loaded)},
         lambda o: [[("store", "rest", 1, PLAIN), ("store", "flag", 1, o[stores])],
                    [("await", "flag", "flag", o[loads], 1), ("load", "rest", "rest", PLAIN)]],
         lambda r: r.get("flag") == 1 and r["rest"] == 0)


RECORD = ("host/thread.c", "kaio_thread_record", "->taken, true")
GIVEN_BACK = ("host/thread.c", "kaio_thread_give_back", "->taken")
WIPED = ("host/memory.c", "kaio_memory_wipe", r"store\w*\(&kaio_memory_owner")
publication("the pool has grown",
            ("request/request.c", "pool_begin_one", "pool.nreqs, pool"),
            ("request/request.c", "kaio_req_glance", "&pool.nreqs"))
publication("a number has a record",
            ("request/file.c", "kaio_file_get", r"store\w*\(number"),
            ("request/file.c", "kaio_file_used", r"load\w*\(number"))
publication("a thread's record is given back", GIVEN_BACK, RECORD)
publication("the reaper's record is given back", ("core/reaper.c", "retire", "->taken"), RECORD)
publication("an eventfd moves", GIVEN_BACK, ("host/thread.c", "efd_place", "owner->taken"))
publication("an eventfd's record is found by its number",
            ("host/thread.c", "kaio_thread_efd", r"\*place = thread"), ("host/ours.c", "our_fd", r"kaio_efds\[i\]"))
publication("a child is wiped, and another thread of it comes",
            WIPED, ("host/host.h", "kaio_memory_is_inherited", "&kaio_memory_owner"))
publication("a child is wiped, and another thread of it waits for that",
            WIPED, ("host/memory.c", "kaio_memory_wipe", r"load\w*\(&kaio_memory_owner"))
publication("the library is loaded", ("api.c", "load", "is_loaded, true"), ("api.c", "load", r"load\w*\(&is_loaded"))
publication("a child's counts have an owner",
            ("observe/watch.c", "identify", r"store_n\(&own->pid"),
            ("observe/watch.c", "identify", r"load_n\(&own->pid"))
publication("a watched request's time",
            ("observe/watch.c", "fill", "->key"), ("observe/watch.c", "claim", "compare_exchange"))
publication("a page is mapped",
            ("observe/share.c", "publish_page", "&share.page"), ("observe/share.c", "kaio_share_page", "&share.page"))
publication("a page is done", ("observe/share.c", "kaio_share_begin", "share.state, DONE"),
            ("observe/share.c", "kaio_share_begin", r"load\w*\(&share.state"))

publication("a recording is open", ("../record/record.c", "begin", "record.output, OPEN"),
            ("../record/record.c", "is_open", r"load\w*\(&record.output"))
publication("a recorded file is known", ("../record/record.c", "put_first", "place, key, memory"),
            ("../record/record.c", "place_of", r"load\w*\(place"))

race("an event is in the ring",
     {"tail": 0, "event": 0},
     {"aio_complete() fence": "release",  # smp_wmb()
      "ring_pending() tail": order("host/context.c", "ring_pending", "->tail")},
     lambda o: [[("store", "event", 1, PLAIN), ("fence", o["aio_complete() fence"]), ("store", "tail", 1, PLAIN)],
                [("await", "tail", "tail", o["ring_pending() tail"], 1), ("load", "event", "event", PLAIN)]],
     lambda r: r.get("tail") == 1 and r["event"] == 0)

race("a child is forked during its parent's first request",
     {"owner": 0, "mutex": 0},  # the child looks like a thread that acquires what fork() has copied
     {"kaio_memory_mark() fence": fence("host/memory.c", "kaio_memory_mark")},
     lambda o: [[("store", "owner", 1, order("host/memory.c", "kaio_memory_mark", "owner = ")),
                 ("fence", o["kaio_memory_mark() fence"]),
                 ("rmw", "free", "mutex", lambda old: 1, "acquire")],
                [("load", "mutex", "mutex", "acquire"), ("load", "owner", "owner", PLAIN)]],
     lambda r: r["mutex"] == 1 and r["owner"] == 0)


# The verdict

WEAKER = {"seq_cst": "acq_rel", "acq_rel": "relaxed", "acquire": "relaxed", "release": "relaxed"}


def found(places, orders, threads, bad):
    states, ends = outcomes(places, threads(orders))
    return states, any(bad(end) for end in ends)


def main():
    failed, states, taken_away = False, 0, 0
    for name in unlisted():
        print(f"docs/memory-order.md does not name {name}")
        failed = True
    for allowed, threads, wanted in known:
        _, ends = outcomes({"x": 0, "y": 0}, threads)
        if allowed != any(wanted.items() <= end.items() for end in ends):
            print(f"the machine {'forbids' if allowed else 'allows'} {wanted} of {threads}")
            failed = True
    for what, places, orders, threads, bad in races:
        n, is_bad = found(places, orders, threads, bad)
        states += n
        if is_bad:
            print(f"{what}: it goes wrong; the source has {orders}")
            failed = True
            continue
        for name, how in orders.items():
            weaker = "none" if name.endswith("fence") else WEAKER[how]
            n, is_bad = found(places, {**orders, name: weaker}, threads, bad)
            states += n
            if not is_bad and weaker == "acq_rel":  # release and acquire do
                n, is_bad = found(places, {**orders, name: "relaxed"}, threads, bad)
                states += n
            taken_away += 1
            if not is_bad:
                print(f"{what}: {name} may be {weaker}: the model cannot fail")
                failed = True
    print(f"litmus: {len(races)} races, each without {taken_away} orders in turn, {states} states")
    return failed


sys.exit(main())
