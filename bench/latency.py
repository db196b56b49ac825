#!/usr/bin/env python3
"""Latency from a committed row to its consumer, beside pg_recvlogical's.

Starts a PostgreSQL of its own and inserts marker rows, a transaction each, every few milliseconds. The time counts from the marker's statement
(`clock_timestamp()` in the row, so the commit's own flush is in it) to the moment when the line is read from the reader's pipe. Readers take turns:
`pg_recvlogical` (same plugin options, over TCP), and `pgcapture serve` with `pgcapture tail`: decoded, made durable, and printed. Both on an
otherwise idle system, and while pgbench runs at half the rate that it reaches on this machine while `serve` captures it.
"""
import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from postgres import PLUGIN, Server, Sql, free_port, say

MARKER = re.compile(rb"marker (\d+) (\d+\.\d+)!")
DATABASE = "bench"
LOAD_CLIENTS = 4


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Reader:
    """A process that prints changes; notes when each marker comes."""

    def __init__(self, command):
        self.seconds = {}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        rest = b""
        while chunk := os.read(self.process.stdout.fileno(), 1 << 20):
            now = time.time()
            rest += chunk
            end = 0
            for found in MARKER.finditer(rest):
                self.seconds[int(found[1])] = now - float(found[2])
                end = found.end()
            rest = rest[max(end, len(rest) - 64):]

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        self.thread.join()


class Markers:
    def __init__(self, sql):
        self.sql = sql
        self.last = 0

    def write(self):
        self.last += 1
        self.sql(f"INSERT INTO latency (note) SELECT 'marker {self.last} ' || extract(epoch FROM clock_timestamp()) || '!'")
        return self.last

    def until_seen(self, reader, seconds=120):
        """Writes until the reader has one that is less than a second old: it has caught up."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            number = self.write()
            time.sleep(0.1)
            if reader.seconds.get(number, 1) < 1:
                return
        raise RuntimeError("the reader did not catch up")

    def measure(self, reader, count, interval):
        first = self.last + 1
        next_at = time.monotonic()
        for _ in range(count):
            next_at += interval
            time.sleep(max(0, next_at - time.monotonic()))
            self.write()
        deadline = time.monotonic() + 60
        wanted = range(first, self.last + 1)
        while any(number not in reader.seconds for number in wanted):
            if time.monotonic() > deadline:
                raise RuntimeError("markers did not arrive within a minute")
            time.sleep(0.05)
        return [reader.seconds[number] * 1e3 for number in wanted]


class Serve:
    def __init__(self, server, pgcapture, work):
        port = free_port()
        self.serve = subprocess.Popen([pgcapture, "serve", "--source", server.url("tcp", DATABASE), "--data-dir", work, "--topic", "bench",
                                       "--no-ddl", "--listen", f"127.0.0.1:{port}", "--log-level", "error"])
        deadline = time.monotonic() + 30
        while not listens(port):
            if time.monotonic() > deadline or self.serve.poll() is not None:
                self.serve.kill()
                raise RuntimeError("serve does not listen")
            time.sleep(0.05)
        self.reader = Reader([pgcapture, "tail", "--gateway", f"127.0.0.1:{port}", "--uri", "bench", "--table", "^latency$", "--log-level", "error"])

    def stop(self):
        self.reader.stop()
        self.serve.send_signal(signal.SIGTERM)
        self.serve.wait(timeout=30)


class Recvlogical:
    def __init__(self, server, sql):
        self.sql = sql
        sql("SELECT pg_create_logical_replication_slot('recv', 'pgoutput')")
        self.reader = Reader(server.client("pg_recvlogical", "tcp", "-d", DATABASE, "--slot=recv", "--start", "-f", "-", *PLUGIN))

    def stop(self):
        self.reader.stop()
        for _ in range(100):
            if self.sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'recv'") != "t":
                break
            time.sleep(0.05)
        self.sql("SELECT pg_drop_replication_slot('recv')")


def pgbench(server, seconds, rate=None):
    limit = [] if rate is None else ["-R", str(rate)]
    return subprocess.Popen(server.client("pgbench", "unix", "-n", "-N", "-c", str(LOAD_CLIENTS), "-T", str(seconds), *limit, DATABASE),
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pgcapture", default="build/release/pgcapture", help="the binary to measure")
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--markers", type=int, default=500, help="markers in a run (default 500)")
    parser.add_argument("--interval-ms", type=float, default=20, help="between two markers (default 20)")
    args = parser.parse_args()
    server = Server()
    work = tempfile.mkdtemp(prefix="pgc-bench-store-")
    results = {}
    try:
        subprocess.run(server.client("createdb", "unix", DATABASE), check=True)
        subprocess.run(server.client("pgbench", "unix", "-i", "-q", "-s", "10", DATABASE), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        sql = Sql(server, DATABASE)
        sql("ALTER TABLE pgbench_history REPLICA IDENTITY FULL")
        sql("CREATE TABLE latency (id bigserial PRIMARY KEY, note text)")
        markers = Markers(sql)
        readers = {"pg_recvlogical": lambda: Recvlogical(server, sql), "serve and tail": lambda: Serve(server, args.pgcapture, work)}

        serving = readers["serve and tail"]()  # makes the publication too
        markers.until_seen(serving.reader)
        output = pgbench(server, 8).communicate()[0]
        full = float(re.search(r"tps = ([\d.]+)", output)[1])
        markers.until_seen(serving.reader)
        serving.stop()
        say(f"pgbench with serve: {full:.0f} transactions/s")

        seconds = args.markers * args.interval_ms / 1e3
        for run in range(args.runs):
            for load in ("idle", "half load"):
                for who, start in readers.items():
                    reading = start()
                    markers.until_seen(reading.reader)
                    bench = pgbench(server, int(seconds) + 4, round(full / 2)) if load != "idle" else None
                    time.sleep(1)
                    values = markers.measure(reading.reader, args.markers, args.interval_ms / 1e3)
                    if bench is not None:
                        bench.communicate()
                    reading.stop()
                    results.setdefault((load, who), []).append(values)
                    say(f"  run {run + 1}, {load}, {who}: p50 {percentile(values, 0.5):.2f} ms, p99 {percentile(values, 0.99):.2f} ms")
        sql.close()
    finally:
        server.stop()
        shutil.rmtree(work, ignore_errors=True)

    print(f"{os.cpu_count()} cores; {args.markers} markers a run, medians of {args.runs} runs; half load: pgbench at {full / 2:.0f} transactions/s")
    print("| load | reader | p50 ms | p99 ms | longest ms | p99, each run |")
    print("|---|---|---|---|---|---|")
    for (load, who), runs in results.items():
        each = [percentile(values, 0.99) for values in runs]
        print(f"| {load} | {who} | {statistics.median(percentile(values, 0.5) for values in runs):.2f} | {statistics.median(each):.2f} "
              f"| {max(max(values) for values in runs):.2f} | {' '.join(f'{value:.2f}' for value in each)} |")


if __name__ == "__main__":
    main()
