#!/usr/bin/env python3
"""Apply speed: slot -> rows visible in a target database, against native logical replication.

Starts two PostgreSQL servers of its own, writes the backlogs of capture.py behind a slot of the first, and applies each of them several
times to the second, in turn:

  native     a subscription with binary = true and streaming = off, on a copy of the slot
  streaming  the same with streaming = on
  serve      `pgcapture serve --replica`, from a copy of the slot
  store      `pgcapture apply` of a log that `serve` captured before: no walsender, no decoding

A run's time is from ENABLE, or from the start of the process, until a row that was written last is visible, asked every 20 ms over one
kept connection. Each run has a new target database, made from a template. Both ways use the same synchronous_commit. Prints tables of
medians, of ratios taken run by run, and of CPU seconds (of the process that applies, of the walsender, of the target's backends; read when the
row is visible). `--lag` and `--large` measure a steady load, and memory within one large transaction, in place of the backlogs.
"""
import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time

from capture import cpu_s, inserts, peak_mb, tpcb
from postgres import Server, Sql, say

WAYS = ("native", "streaming", "serve", "store")
POLL_S = 0.02
TARGET = "run"


class Pair:
    """The two servers, the database that is being measured, and its template on the target."""

    def __init__(self, pgcapture, sync):
        self.pgcapture = pgcapture
        self.sync = sync
        self.source = Server()
        try:
            # With the 5 s of the default a subscription sometimes starts that much later.
            self.target = Server({"wal_retrieve_retry_interval": "100ms"})
        except Exception:
            self.source.stop()
            raise
        self.admin = Sql(self.target, "postgres")
        self.work = tempfile.mkdtemp(prefix="pgc-bench-store-")
        self.database = None
        self.sql = None

    def use(self, database, prepare):
        """Makes a database with tables and a slot behind which the backlog is to be written; what `prepare` gave."""
        self.database = database
        subprocess.run(self.source.client("createdb", "unix", database), check=True)
        self.sql = Sql(self.source, database)
        self.sql("CREATE PUBLICATION bench FOR ALL TABLES WITH (publish_via_partition_root = true)")
        self.sql("CREATE TABLE marker (id int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
        go = prepare(self.source, database, self.sql)
        self.admin(f"CREATE DATABASE {database}")
        dump = subprocess.Popen(self.source.client("pg_dump", "unix", "--no-publications", database), stdout=subprocess.PIPE)
        subprocess.run(self.target.client("psql", "unix", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", database), stdin=dump.stdout,
                       stdout=subprocess.DEVNULL, check=True)
        if dump.wait() != 0:
            raise RuntimeError("pg_dump failed")
        self.sql("SELECT pg_create_logical_replication_slot('bench_base', 'pgoutput')")
        return go

    def done(self):
        self.sql("SELECT pg_drop_replication_slot('bench_base')")
        self.sql.close()
        self.admin(f"DROP DATABASE {self.database}")

    def new_target(self):
        self.admin(f"CREATE DATABASE {TARGET} TEMPLATE {self.database}")
        self.admin("CHECKPOINT")

    def drop_slot(self):
        for _ in range(200):
            if self.sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'bench'") != "t":
                break
            time.sleep(0.05)
        self.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'bench'")

    def stop(self):
        self.source.stop()
        self.target.stop()
        shutil.rmtree(self.work, ignore_errors=True)


class Subscription:
    """Native logical replication into the target database."""

    def __init__(self, pair, connection, streaming):
        self.pair = pair
        self.sql = Sql(pair.target, TARGET)
        url = pair.source.url(connection, pair.database)
        self.sql(f"CREATE SUBSCRIPTION bench CONNECTION '{url}' PUBLICATION bench WITH (create_slot = false, slot_name = 'bench', "
                 f"enabled = false, copy_data = false, binary = true, streaming = {streaming}, synchronous_commit = {pair.sync})")

    def start(self):
        self.sql("ALTER SUBSCRIPTION bench ENABLE")

    def check(self):
        pass

    def pids(self):
        """Of the process that applies, none beside the backends, and of these."""
        return None, [int(pid) for pid in self.sql("SELECT pid FROM pg_stat_subscription WHERE pid IS NOT NULL").split()]

    def stop(self):
        self.sql("ALTER SUBSCRIPTION bench DISABLE")
        self.sql("ALTER SUBSCRIPTION bench SET (slot_name = NONE)")
        self.sql("DROP SUBSCRIPTION bench")
        self.sql.close()


class Sink:
    """`pgcapture` into the target database, from the slot or from a log."""

    def __init__(self, pair, connection, from_store):
        self.sql = Sql(pair.target, TARGET)
        data = f"{pair.work}/data"
        shutil.rmtree(data, ignore_errors=True)
        target = pair.target.url(connection, TARGET)
        if from_store:
            shutil.copytree(f"{pair.work}/log", data)
            self.command = [pair.pgcapture, "apply", "--store", data, "--target", target]
        else:
            self.command = [pair.pgcapture, "serve", "--source", pair.source.url(connection, pair.database), "--replica", target,
                            "--data-dir", data, "--no-ddl", "--listen", "127.0.0.1:0"]
        self.command += ["--topic", "bench", "--synchronous-commit", pair.sync, "--log-level", "warning"]
        self.process = None
        self.errors = tempfile.TemporaryFile(mode="w+")

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=self.errors)

    def check(self):
        if self.process.poll() is not None:
            self.errors.seek(0)
            raise RuntimeError(f"{self.command[1]} ended with {self.process.returncode}: {self.errors.read()}")

    def pids(self):
        pids = self.sql(f"SELECT pid FROM pg_stat_activity WHERE datname = '{TARGET}' AND backend_type = 'client backend' "
                        "AND application_name <> 'psql'")
        return self.process.pid, [int(pid) for pid in pids.split()]

    def stop(self):
        self.sql.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            if self.process.wait(timeout=30) != 0:
                self.check()
        finally:
            self.process.kill()


def new_way(pair, way, connection):
    if way in ("native", "streaming"):
        return Subscription(pair, connection, "on" if way == "streaming" else "off")
    return Sink(pair, connection, way == "store")


def wait_visible(pair, way, watch, marker, limit_s=900):
    deadline = time.monotonic() + limit_s
    while watch(f"SELECT count(*) FROM marker WHERE id = {marker}") != "1":
        way.check()
        if time.monotonic() > deadline:
            raise RuntimeError("the marker did not arrive")
        time.sleep(POLL_S)


def usage(pair, way):
    """CPU seconds so far, and peak memory, of the process that applies, the walsender and the target's backends."""
    process, backends = way.pids()
    sender = pair.sql("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'bench' AND active")
    return {"client": (process and cpu_s(process)) or 0.0, "sender": (sender and cpu_s(sender)) or 0.0,
            "backends": sum(cpu_s(pid) or 0.0 for pid in backends), "mb": (process and peak_mb(process)) or 0.0}


class Running:
    """One way, set up on a new target database and a copy of the slot; everything gone at the end."""

    def __init__(self, pair, name, connection):
        self.pair = pair
        self.name = name
        self.connection = connection

    def __enter__(self):
        pair = self.pair
        pair.new_target()
        if self.name != "store":
            pair.sql("SELECT pg_copy_logical_replication_slot('bench_base', 'bench')")
        self.way = new_way(pair, self.name, self.connection)
        self.watch = Sql(pair.target, TARGET)
        return self

    def __exit__(self, kind, value, trace):
        self.watch.close()
        if kind is None:
            self.way.stop()
        elif getattr(self.way, "process", None) is not None:
            self.way.process.kill()
        if kind is None:
            self.pair.drop_slot()
            self.pair.admin(f"DROP DATABASE {TARGET} WITH (FORCE)")


def one_run(pair, name, connection, marker):
    with Running(pair, name, connection) as running:
        start = time.monotonic()
        running.way.start()
        wait_visible(pair, running.way, running.watch, marker)
        seconds = time.monotonic() - start
        return {"seconds": seconds, **usage(pair, running.way)}


def capture_log(pair, connection):
    """The backlog in a log, for `apply --store`."""
    pair.sql("SELECT pg_copy_logical_replication_slot('bench_base', 'bench')")
    end = pair.sql("SELECT pg_current_wal_lsn()")
    shutil.rmtree(f"{pair.work}/log", ignore_errors=True)
    serve = subprocess.Popen([pair.pgcapture, "serve", "--source", pair.source.url(connection, pair.database), "--data-dir",
                              f"{pair.work}/log", "--topic", "bench", "--no-ddl", "--listen", "127.0.0.1:0", "--log-level", "warning"])
    while pair.sql(f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = 'bench'") != "t":
        if serve.poll() is not None:
            raise RuntimeError("serve ended")
        time.sleep(0.05)
    serve.send_signal(signal.SIGTERM)
    serve.wait(timeout=30)
    pair.drop_slot()


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def measure_backlogs(pair, args):
    n = args.scale
    workloads = {
        "rows": ("1,000,000 rows in 10,000 transactions", inserts(int(10_000 * n), 100)),
        "single": ("200,000 single-row transactions", inserts(int(200_000 * n), 1)),
        "tpcb": ("pgbench scale 10, 100,000 transactions", tpcb(10, 4, int(25_000 * n))),
    }
    results = []
    for workload in args.workloads.split(","):
        title, prepare = workloads[workload]
        say(f"{title}: writing the backlog")
        go = pair.use(f"bench_{workload}", prepare)
        changes = go()
        pair.sql("INSERT INTO marker VALUES (1)")
        pair.sql("CHECKPOINT")
        for connection in args.connections.split(","):
            if "store" in args.ways:
                capture_log(pair, connection)
            runs = {way: [] for way in args.ways}
            for i in range(args.runs):
                for way in args.ways:
                    run = one_run(pair, way, connection, 1)
                    runs[way].append(run)
                    say(f"  {connection} run {i + 1} {way}: {run['seconds']:.2f} s")
            results.append((workload, connection, changes, runs))
        pair.done()
    print_backlogs(args, results)


def print_backlogs(args, results):
    print(f"{os.cpu_count()} cores, medians of {args.runs} runs, synchronous_commit = {args.synchronous_commit} on the target; CPU in seconds "
          "per million changes: process + walsender + backends of the target")
    print("| backlog | connection | way | changes/s | to native | each run | CPU | in all | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for workload, connection, changes, runs in results:
        million = changes / 1e6
        base = runs.get("native")
        for way, ours in runs.items():
            ratios = [b["seconds"] / o["seconds"] for b, o in zip(base, ours)] if base else []
            parts = [median(ours, key) / million for key in ("client", "sender", "backends")]
            print(f"| {workload} | {connection} | {way} | {changes / median(ours, 'seconds') / 1e3:.0f} k "
                  f"| {f'{statistics.median(ratios):.2f}' if ratios else ''} | {' '.join(f'{r:.2f}' for r in ratios)} "
                  f"| {' + '.join(f'{part:.2f}' for part in parts)} | {sum(parts):.2f} | {max(run['mb'] for run in ours):.0f} |")


class Lag:
    """Writes markers on the source, and notes when each is visible on the target."""

    def __init__(self, pair, watch):
        self.pair = pair
        self.watch = watch
        self.seen = 0
        self.seen_at = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.ended.is_set():
            newest = int(self.watch("SELECT coalesce(max(id), 0) FROM marker"))
            now = time.monotonic()
            for number in range(self.seen + 1, newest + 1):
                self.seen_at[number] = now
            self.seen = max(self.seen, newest)
            self.ended.wait(0.002)

    def measure(self, first, seconds, interval_s):
        self.seen = first - 1
        self.thread.start()
        committed_at = {}
        begin = time.monotonic()
        number = first
        while time.monotonic() < begin + seconds:
            time.sleep(max(0.0, begin + (number - first) * interval_s - time.monotonic()))
            self.pair.sql(f"INSERT INTO marker VALUES ({number})")
            committed_at[number] = time.monotonic()
            number += 1
        deadline = time.monotonic() + 60
        while self.seen < number - 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.ended.set()
        self.thread.join()
        if self.seen < number - 1:
            raise RuntimeError("markers did not arrive within a minute: the load is more than can be applied")
        return [max(0.0, self.seen_at[n] - at) * 1e3 for n, at in committed_at.items()]


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p))]


LOAD = """SELECT nextval('load') AS base \\gset
INSERT INTO t1 SELECT :base + i, md5(i::text) FROM generate_series(0, 99) i;
"""


def measure_lag(pair, args):
    def prepare(_server, _database, sql):
        sql("CREATE TABLE t1 (id bigint PRIMARY KEY, v text)")
        sql("CREATE SEQUENCE load INCREMENT 100")

    pair.use("bench_lag", prepare)
    script = f"{pair.work}/load.sql"
    with open(script, "w", encoding="utf-8") as file:
        file.write(LOAD)
    print(f"transactions of 100 rows, {args.lag_rate} rows/s asked for; a marker every 50 ms for {args.lag_seconds} s; ms from its commit "
          "until it is visible")
    print("| way | rows/s | p50 ms | p99 ms | longest ms | peak MB |")
    print("|---|---|---|---|---|---|")
    ways = [way for way in args.ways if way != "store"]
    first = 1
    for _ in range(args.runs):
        for way in ways:
            with Running(pair, way, "tcp") as running:
                running.way.start()
                pair.sql(f"INSERT INTO marker VALUES ({first})")
                wait_visible(pair, running.way, running.watch, first)
                before = int(pair.sql("SELECT last_value FROM load"))
                load = subprocess.Popen(pair.source.client(
                    "pgbench", "unix", "-n", "-M", "prepared", "-c", "4", "-f", script, "-T", str(args.lag_seconds + 3), "-R",
                    str(max(1, args.lag_rate // 100)), pair.database), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(2)
                values = Lag(pair, running.watch).measure(first + 1, args.lag_seconds, 0.05)
                first += len(values) + 1
                load.wait()
                rows = int(pair.sql("SELECT last_value FROM load")) - before
                mb = usage(pair, running.way)["mb"]
                print(f"| {way} | {rows / (args.lag_seconds + 3) / 1e3:.0f} k | {percentile(values, 0.5):.1f} | {percentile(values, 0.99):.1f} "
                      f"| {max(values):.1f} | {mb:.0f} |", flush=True)
            pair.sql("SELECT pg_drop_replication_slot('bench_base')")
            pair.sql("TRUNCATE t1, marker")
            pair.sql("SELECT pg_create_logical_replication_slot('bench_base', 'pgoutput')")
    pair.done()


def measure_large(pair, args):
    def prepare(_server, _database, sql):
        sql("CREATE TABLE t1 (id int PRIMARY KEY, v text)")

    pair.use("bench_large", prepare)
    print(f"one transaction of {args.large} rows: seconds from its commit until it is visible, and memory of pgcapture")
    print("| way | seconds | peak MB |")
    print("|---|---|---|")
    ways = [way for way in args.ways if way != "store"]
    for way in ways:
        with Running(pair, way, "tcp") as running:
            running.way.start()
            pair.sql("BEGIN")
            pair.sql(f"INSERT INTO t1 SELECT i, md5(i::text) FROM generate_series(1, {args.large}) i")
            pair.sql("INSERT INTO marker VALUES (1)")
            pair.sql("COMMIT")
            start = time.monotonic()
            wait_visible(pair, running.way, running.watch, 1, limit_s=3600)
            print(f"| {way} | {time.monotonic() - start:.1f} | {usage(pair, running.way)['mb']:.0f} |", flush=True)
        pair.sql("SELECT pg_drop_replication_slot('bench_base')")
        pair.sql("TRUNCATE t1, marker")
        pair.sql("SELECT pg_create_logical_replication_slot('bench_base', 'pgoutput')")
    pair.done()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pgcapture", default="build/release/pgcapture", help="the binary to measure")
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the backlogs (default 1.0: the documented sizes)")
    parser.add_argument("--connections", default="tcp", help="tcp, unix or both with a comma; of both servers (default tcp)")
    parser.add_argument("--workloads", default="rows,single,tpcb")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"which of them (default {','.join(WAYS)})")
    parser.add_argument("--synchronous-commit", choices=("off", "on"), default="off",
                        help="on the target, of all ways (default off, as a subscription's)")
    parser.add_argument("--lag", action="store_true", help="measure a steady load instead")
    parser.add_argument("--lag-rate", type=int, default=150_000, help="its rows a second (default 150000)")
    parser.add_argument("--lag-seconds", type=int, default=20, help="how long (default 20)")
    parser.add_argument("--large", type=int, help="measure one transaction of so many rows instead")
    args = parser.parse_args()
    args.ways = args.ways.split(",")
    for way in args.ways:
        if way not in WAYS:
            parser.error(f"no way {way}")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pair = Pair(args.pgcapture, args.synchronous_commit)
    try:
        if args.lag:
            measure_lag(pair, args)
        elif args.large:
            measure_large(pair, args)
        else:
            measure_backlogs(pair, args)
    finally:
        pair.stop()


if __name__ == "__main__":
    main()
