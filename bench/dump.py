#!/usr/bin/env python3
"""Dumps: rows of a replica through agent and gateway to a consumer that acknowledges them, against what PostgreSQL and gRPC allow.

Starts two PostgreSQL servers of its own, a source and a replica that `pgcapture serve --replica` keeps, with the same table in both: 100
bytes of values a row (bigint, timestamptz, int and a text of 80 characters). Whatever is compared takes turns in one run. Parts:

  speed    rows per second of a dump, with batched messages and with a row a message, from the request to the last row, against psql's
           COPY (SELECT ...) TO STDOUT (FORMAT binary) of the same table to /dev/null, and a bare gRPC stream of the same messages
  latency  from the statement that wrote a change of another table (`clock_timestamp()` in it) to its consumer, under a steady load, while
           a dump runs and while none does; at the consumer of the dump, and at another one
  source   CPU of the source's processes under a steady load, while dumps run from the replica and while none does; and, for what a busy
           machine alone makes of it, while COPY runs on the replica instead

Prints tables of medians, and of ratios taken run by run.
"""
import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from capture import cpu_s, peak_mb
from latency import listens, percentile
from postgres import Server, Sql, free_port, say

DATABASE = "bench"
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE = 100_000  # messages that the bare stream repeats
SETTINGS = {"autovacuum": "off"}
TABLES = """
CREATE TABLE item (id bigint PRIMARY KEY, at timestamptz NOT NULL, quantity int NOT NULL, note text NOT NULL);
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE ticks (id bigserial PRIMARY KEY, at timestamptz NOT NULL);
INSERT INTO item SELECT i, '2024-01-01'::timestamptz + i * interval '1 second', i % 1000, repeat(md5(i::text), 2) || left(md5(i::text), 16)
  FROM generate_series(1, {rows}) i;
INSERT INTO account SELECT i, 0 FROM generate_series(1, 10000) i;
"""
LOAD = """
\\set id random(1, 10000)
BEGIN;
UPDATE account SET balance = balance + 1 WHERE id = :id;
INSERT INTO ticks (at) VALUES (clock_timestamp());
END;
"""


def cluster_cpu_s(server):
    """CPU seconds of a server's processes, those that have ended too."""
    with open(f"{server.dir}/data/postmaster.pid") as file:
        postmaster = int(file.readline())
    seconds = 0.0
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            if pid == postmaster:
                seconds += (int(fields[13]) + int(fields[14])) / TICKS
            elif int(fields[1]) != postmaster:
                continue
            with open(f"/proc/{pid}/schedstat") as file:  # of one thread, which is all that they have, but in ns
                seconds += int(file.readline().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            pass
    return seconds


class Consumer:
    def __init__(self, bench, uri, batched, address=None, rows=None):
        command = [bench.args.dump_bench, "consume", address or bench.address, uri]
        command += ["--batched"] if batched else []
        command += ["--rows", str(rows)] if rows is not None else []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "attached\n":
            raise RuntimeError("a consumer did not attach")

    def result(self, stop=True):
        """What it saw, once it has ended."""
        if stop:
            self.process.send_signal(signal.SIGTERM)
        output = self.process.communicate(timeout=3600)[0]
        if self.process.returncode != 0:
            raise RuntimeError("a consumer failed")
        return json.loads(output)


class Bench:
    """The servers, `serve` between them, and a table that both have."""

    def __init__(self, args):
        self.args = args
        self.stack = contextlib.ExitStack()
        self.uris = 0

    def __enter__(self):
        with self.stack as stack:
            self.work = tempfile.mkdtemp(prefix="pgc-bench-store-")
            stack.callback(shutil.rmtree, self.work, ignore_errors=True)
            self.source = Server(SETTINGS)
            stack.callback(self.source.stop)
            self.replica = Server(SETTINGS)
            stack.callback(self.replica.stop)
            for server in (self.source, self.replica):
                say(f"writing {self.args.rows:,} rows")
                subprocess.run(server.client("createdb", "unix", DATABASE), check=True)
                subprocess.run(server.client("psql", "unix", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", DATABASE), check=True, text=True,
                               input=TABLES.format(rows=self.args.rows) + "VACUUM (FREEZE, ANALYZE);\nCHECKPOINT;\n")
            self.sql = Sql(self.source, DATABASE)
            stack.callback(self.sql.close)
            self.replica_sql = Sql(self.replica, DATABASE)
            stack.callback(self.replica_sql.close)
            self.start_serve()
            stack.callback(self.stop_serve)
            self.script = f"{self.work}/load.sql"
            with open(self.script, "w") as file:
                file.write(LOAD)
            self.wait_for_replica()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind, value, trace):
        self.stack.close()

    def start_serve(self):
        connection = self.args.connection
        self.address = f"127.0.0.1:{free_port()}"
        self.serve = subprocess.Popen(
            [self.args.pgcapture, "serve", "--source", self.source.url(connection, DATABASE), "--replica", self.replica.url(connection, DATABASE),
             "--data-dir", f"{self.work}/data", "--topic", "bench", "--no-ddl", "--listen", self.address, "--log-level", "warning"])
        deadline = time.monotonic() + 60
        while not listens(int(self.address.rsplit(":", 1)[1])):
            if time.monotonic() > deadline or self.serve.poll() is not None:
                self.serve.kill()
                raise RuntimeError("serve does not listen")
            time.sleep(0.05)

    def stop_serve(self):
        self.serve.send_signal(signal.SIGTERM)
        try:
            self.serve.wait(timeout=60)
        finally:
            self.serve.kill()

    def wait_for_replica(self):
        """Until it has a checkpoint: what was written before `serve` captured did not give it one."""
        deadline = time.monotonic() + 120
        while self.replica_sql("SELECT count(*) FROM ticks") == "0":
            if time.monotonic() > deadline:
                raise RuntimeError("the replica does not follow")
            self.sql("INSERT INTO ticks (at) VALUES (clock_timestamp())")
            time.sleep(0.1)

    def new_uri(self):
        self.uris += 1
        return f"bench/consumer{self.uris}"

    def control(self, uri, *options):
        subprocess.run([self.args.pgcapture, "dump", "--controller", self.address, "--uri", uri, "--log-level", "error", *options], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def dump(self, uri, pages, *options):
        self.control(uri, "--table", "public.item", "--pages-per-dump", str(pages), *options)

    def copy(self):
        subprocess.run(self.replica.client("psql", self.args.connection, "-Xq", "-d", DATABASE, "-c",
                                           "COPY (SELECT * FROM item) TO STDOUT (FORMAT binary)"), check=True, stdout=subprocess.DEVNULL)

    @contextlib.contextmanager
    def load(self):
        """Steady, from another process."""
        process = subprocess.Popen(self.source.client("pgbench", "unix", "-n", "-f", self.script, "-c", "2", "-R", str(self.args.rate), "-T", "86400",
                                                      DATABASE), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(2)
            yield
        finally:
            process.terminate()
            process.wait()


# --- speed


def copy_run(bench):
    before = cluster_cpu_s(bench.replica)
    children = os.times().children_user + os.times().children_system
    start = time.monotonic()
    bench.copy()
    seconds = time.monotonic() - start
    client = os.times().children_user + os.times().children_system - children
    time.sleep(0.1)  # its backend is waited for by then
    return {"seconds": seconds, "server": 0.0, "replica": cluster_cpu_s(bench.replica) - before, "client": client}


def dump_run(bench, batched, pages):
    """A dump, from the request to the last row that came, and to its end."""
    uri = bench.new_uri()
    consumer = Consumer(bench, uri, batched)
    with open(f"/proc/{bench.serve.pid}/clear_refs", "w") as file:
        file.write("5")  # the peak begins here
    serve = cpu_s(bench.serve.pid)
    replica = cluster_cpu_s(bench.replica)
    start, start_us = time.monotonic(), time.time() * 1e6
    bench.dump(uri, pages, "--wait")
    to_end = time.monotonic() - start
    run = {"to_end": to_end, "server": cpu_s(bench.serve.pid) - serve, "replica": cluster_cpu_s(bench.replica) - replica,
           "mb": peak_mb(bench.serve.pid)}
    seen = consumer.result()
    if seen["rows"] != bench.args.rows:
        raise RuntimeError(f"{seen['rows']} rows came, of {bench.args.rows}")
    return {**run, "seconds": (seen["spans_us"][-1][1] - start_us) / 1e6, "client": seen["cpu_s"], "bytes": seen["bytes"] / seen["rows"]}


class Bare:
    """A server of messages that a dump had."""

    def __init__(self, bench):
        uri = bench.new_uri()
        sample = min(SAMPLE, bench.args.rows)
        self.process = subprocess.Popen([bench.args.dump_bench, "bare", bench.address, uri, str(sample), str(bench.args.rows)],
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        bench.dump(uri, 128)
        listening = self.process.stdout.readline().split()
        if len(listening) != 2:
            self.stop()
            raise RuntimeError("the bare stream did not start")
        self.address = listening[1]
        bench.control(uri, "--stop")

    def run(self, bench):
        serve = cpu_s(self.process.pid)
        start_us = time.time() * 1e6
        seen = Consumer(bench, "any", False, self.address, bench.args.rows).result(stop=False)
        return {"seconds": (seen["spans_us"][-1][1] - start_us) / 1e6, "server": cpu_s(self.process.pid) - serve, "replica": 0.0,
                "client": seen["cpu_s"]}

    def stop(self):
        self.process.kill()
        self.process.wait()


def measure_speed(bench):
    ways = {"COPY": lambda: copy_run(bench)}
    modes = bench.args.modes.split(",")
    for pages in bench.args.chunks:
        if "batched" in modes:
            ways[f"batched, {pages} pages"] = lambda pages=pages: dump_run(bench, True, pages)
    bare = None
    if "single" in modes:
        bare = Bare(bench)
        ways["bare stream"] = lambda: bare.run(bench)
        for pages in bench.args.chunks:
            ways[f"a row a message, {pages} pages"] = lambda pages=pages: dump_run(bench, False, pages)
    runs = {way: [] for way in ways}
    try:
        bench.copy()  # so that the first of them finds the pages in memory as well
        for i in range(bench.args.runs):
            for way, go in ways.items():
                run = go()
                runs[way].append(run)
                say(f"  run {i + 1} {way}: {run['seconds']:.2f} s" + (f", {run['to_end']:.2f} s in all" if "to_end" in run else ""))
    finally:
        if bare is not None:
            bare.stop()
    print_speed(bench, runs)


def print_speed(bench, runs):
    def median(of, key):
        return statistics.median(run[key] for run in of)

    million = bench.args.rows / 1e6
    print(f"{bench.args.rows:,} rows; CPU in seconds per million rows; in all: to the end of the dump, the sweep included")
    print("| | rows/s | ratio to | | each run | ratio in all | CPU of the server | of the replica | of the client | peak MB of serve |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for way, ours in runs.items():
        cells = [way, f"{bench.args.rows / median(ours, 'seconds') / 1e3:.0f} k"]
        if way in ("COPY", "bare stream"):
            cells += ["", "", "", ""]
        else:
            base = "COPY" if way.startswith("batched") else "bare stream"
            ratios = [b["seconds"] / o["seconds"] for b, o in zip(runs[base], ours)]
            in_all = [b["seconds"] / o["to_end"] for b, o in zip(runs[base], ours)]
            cells += [base, f"**{statistics.median(ratios):.2f}**", " ".join(f"{ratio:.2f}" for ratio in ratios), f"{statistics.median(in_all):.2f}"]
        cells += [f"{median(ours, key) / million:.2f}" for key in ("server", "replica", "client")]
        cells.append(f"{max(run['mb'] for run in ours):.0f}" if "mb" in ours[0] else "")
        print(f"| {' | '.join(cells)} |")


# --- what goes on beside a dump


def dumps_for(bench, uri, pages, seconds):
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        bench.dump(uri, pages, "--wait")


def split(ticks, spans, quiet):
    """Milliseconds of the changes that met a dump, and of those that were written in the time without one."""
    meets = [(came - written) / 1e3 for written, came in ticks if any(written <= end and came >= begin for begin, end in spans)]
    alone = [(came - written) / 1e3 for written, came in ticks if quiet[0] <= written < quiet[1]]
    return meets, alone


def latency_run(bench, batched, pages):
    uri = bench.new_uri()
    same = Consumer(bench, uri, batched)
    other = Consumer(bench, bench.new_uri(), batched)
    with bench.load():
        time.sleep(1)
        quiet = (time.time() * 1e6, (time.time() + bench.args.window) * 1e6)
        time.sleep(bench.args.window)
        dumps_for(bench, uri, pages, bench.args.window)
    seen = same.result()
    return {"same": split(seen["ticks_us"], seen["spans_us"], quiet), "other": split(other.result()["ticks_us"], seen["spans_us"], quiet)}


def measure_latency(bench):
    results = {}
    for i in range(bench.args.runs):
        for mode in bench.args.modes.split(","):
            for pages in bench.args.chunks:
                run = latency_run(bench, mode == "batched", pages)
                for who, (meets, alone) in run.items():
                    if not meets or not alone:
                        raise RuntimeError("no change met a dump: take a longer --window")
                    results.setdefault((mode, pages, who), []).append((meets, alone))
                    say(f"  run {i + 1} {mode}, {pages} pages, {who} consumer: p99 {percentile(meets, 0.99):.2f} ms of {len(meets)} changes, "
                        f"without a dump {percentile(alone, 0.99):.2f} ms of {len(alone)}")
    print(f"{bench.args.rate} transactions/s; ms from the statement to the consumer")
    print("| messages | pages a dump | consumer | p50 without | p50 with | p99 without | p99 with | p99 ratio | each run | longest with |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (mode, pages, who), runs in results.items():
        def median(which, p):
            return statistics.median(percentile(run[which], p) for run in runs)
        ratios = [percentile(meets, 0.99) / percentile(alone, 0.99) for meets, alone in runs]
        print(f"| {mode} | {pages} | {'of the dump' if who == 'same' else 'another'} | {median(1, 0.5):.2f} | {median(0, 0.5):.2f} | {median(1, 0.99):.2f} "
              f"| {median(0, 0.99):.2f} | **{statistics.median(ratios):.2f}** | {' '.join(f'{ratio:.2f}' for ratio in ratios)} "
              f"| {max(max(meets) for meets, _ in runs):.2f} |")


def measure_source(bench):
    """CPU a second, and a transaction, of the source in windows of the three kinds."""
    uri = bench.new_uri()
    consumer = Consumer(bench, uri, True)

    def copies():
        start = time.monotonic()
        while time.monotonic() < start + bench.args.window:
            bench.copy()

    kinds = {"none": lambda: time.sleep(bench.args.window), "dumps": lambda: dumps_for(bench, uri, bench.args.chunks[0], bench.args.window),
             "COPY": copies}
    runs = {kind: [] for kind in kinds}
    with bench.load():
        for i in range(bench.args.source_runs):
            for kind, go in kinds.items():
                transactions = int(bench.sql("SELECT last_value FROM ticks_id_seq"))
                cpu, start = cluster_cpu_s(bench.source), time.monotonic()
                go()
                cpu, seconds = cluster_cpu_s(bench.source) - cpu, time.monotonic() - start
                transactions = int(bench.sql("SELECT last_value FROM ticks_id_seq")) - transactions
                runs[kind].append({"load": cpu / seconds, "each": cpu / transactions, "rate": transactions / seconds})
                say(f"  run {i + 1} {kind}: {cpu:.3f} s of CPU in {seconds:.1f} s, {transactions / seconds:.0f} transactions/s")
    consumer.result()
    print(f"{bench.args.rate} transactions/s on the source; what runs beside them")
    print("| beside | transactions/s | CPU s a second | us a transaction | CPU ratio | each run | ratio a transaction |")
    print("|---|---|---|---|---|---|---|")
    for kind, ours in runs.items():
        ratios = [o["load"] / b["load"] for b, o in zip(runs["none"], ours)]
        each = [o["each"] / b["each"] for b, o in zip(runs["none"], ours)]
        print(f"| {kind} | {statistics.median(r['rate'] for r in ours):.0f} | {statistics.median(r['load'] for r in ours):.4f} "
              f"| {statistics.median(r['each'] for r in ours) * 1e6:.1f} | **{statistics.median(ratios):.3f}** "
              f"| {' '.join(f'{ratio:.3f}' for ratio in ratios)} | {statistics.median(each):.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pgcapture", default="build/release/pgcapture", help="the binary to measure")
    parser.add_argument("--dump-bench", default="build/release/bench/dump_bench", help="the consumer")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--source-runs", type=int, default=5, help="runs of the part `source` (default 5)")
    parser.add_argument("--parts", default="speed,latency,source")
    parser.add_argument("--modes", default="batched,single", help="messages of many changes, and of one")
    parser.add_argument("--chunks", default="128,1000", type=lambda text: [int(pages) for pages in text.split(",")], help="pages a dump")
    parser.add_argument("--connection", default="tcp", help="tcp or unix")
    parser.add_argument("--rate", type=int, default=500, help="transactions a second of the steady load")
    parser.add_argument("--window", type=float, default=10, help="seconds with dumps, and without, under load")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(f"{os.cpu_count()} cores, {args.connection}, medians")
    with Bench(args) as bench:
        for part in args.parts.split(","):
            say(part)
            {"speed": measure_speed, "latency": measure_latency, "source": measure_source}[part](bench)


if __name__ == "__main__":
    main()
