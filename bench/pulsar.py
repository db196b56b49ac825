#!/usr/bin/env python3
"""Speed with Apache Pulsar: capture of a backlog into a local standalone broker, and reading it back.

Starts a PostgreSQL and a broker (scripts/pulsar) of its own and writes a backlog of 1,000,000 rows behind a slot. Each run, one after the
other: `pgcapture capture` from when it has the slot, as the others are timed without their start too, and from the start of its process,
until the server has seen the backlog's end confirmed; the same messages, sent by Apache's client library alone with the same limits; the
distribution's own load tool, with as many messages of the same mean size; a reader that takes all events of the topic. Then a capture whose
broker is stopped (SIGSTOP) for some seconds: its peak of memory. Prints medians, and ratios taken run by run.
"""
import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from capture import cpu_s, inserts, peak_mb
from postgres import Server, Sql, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "build/libpulsar/libpulsar.so"
BUILD = ROOT / "build/release"


class Broker:
    def __init__(self):
        self.process = subprocess.Popen([ROOT / "scripts/pulsar"], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.match(r"ready service-url=(\S+) admin-url=(\S+) pid=(\d+)", line)
        if not found:
            raise RuntimeError(f"no broker: {line}")
        self.url, self.admin, self.pid = found[1], found[2], int(found[3])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def wait_free(sql, slot):
    for _ in range(200):
        if sql(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'") != "t":
            return
        time.sleep(0.05)


def start_capture(server, broker, database, name):
    return subprocess.Popen([BUILD / "pgcapture", "capture", "--source", server.url("tcp", database), "--store", broker.url, "--topic",
                             name, "--no-ddl", "--pulsar-library", LIBRARY, "--log-level", "warning"])


def end_capture(process):
    process.send_signal(signal.SIGTERM)
    if process.wait(60) != 0:
        raise RuntimeError("capture failed")


def capture(server, broker, sql, database, name, end):
    """The topic `name` must not be there yet, and its slot is copied from the one that keeps the backlog."""
    sql(f"SELECT pg_copy_logical_replication_slot('base', '{name}')")
    slot = f"FROM pg_replication_slots WHERE slot_name = '{name}'"
    begun, broker_cpu = time.monotonic(), cpu_s(broker.pid)
    process = start_capture(server, broker, database, name)

    def wait_until(condition):
        while sql(f"SELECT coalesce((SELECT {condition} {slot}), false)") != "t":
            if process.poll() is not None:
                raise RuntimeError("capture ended")
            time.sleep(0.02)
        return time.monotonic()

    active = wait_until("active")
    done = wait_until(f"confirmed_flush_lsn >= '{end}'")
    run = {"seconds": done - active, "in_all": done - begun, "cpu": cpu_s(process.pid), "mb": peak_mb(process.pid), "broker": cpu_s(broker.pid) - broker_cpu}
    end_capture(process)
    wait_free(sql, name)
    sql(f"SELECT pg_drop_replication_slot('{name}')")
    return run


def bench(broker, *args):
    before = cpu_s(broker.pid)
    done = subprocess.run([BUILD / "bench/pulsar_bench", *map(str, args)], check=True, stdout=subprocess.PIPE, text=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "broker": cpu_s(broker.pid) - before}


def load_tool(broker, name, messages, size, work):
    """Messages a second by its own account, which leaves out the start of its Java; CPU seconds without it are not known."""
    (work / "client.conf").write_text(f"brokerServiceUrl={broker.url}\nwebServiceUrl={broker.admin}\n")
    (work / "log4j2.xml").write_text('<Configuration><Appenders><Console name="C"><PatternLayout pattern="%m%n"/></Console></Appenders>'
                                     '<Loggers><Root level="info"><AppenderRef ref="C"/></Root></Loggers></Configuration>')
    java = sorted(pathlib.Path("/usr/lib/jvm").glob("java-17-openjdk-*/bin/java"))[0]
    server = sorted((ROOT / "build/pulsar").iterdir())[0]
    done = subprocess.run([java, "-Xmx512m", f"-Dlog4j.configurationFile={work}/log4j2.xml", "-cp", f"{server}/lib/*",
                           "org.apache.pulsar.testclient.PulsarPerfTestTool", work / "client.conf", "produce", "-u", broker.url, "-m", str(messages),
                           "-s", str(size), "-r", "10000000", "-z", "ZSTD", "-bm", "1000", "-bb", "1048576", "-b", "10", "-o", "20000",
                           name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.findall(r"Aggregated throughput stats --- +([\d.,]+) +records sent --- +([\d.,]+) +msg/s", done.stdout)
    if not found:
        raise RuntimeError(f"the load tool says: {done.stdout[-2000:]}")
    return float(found[-1][1].replace(",", ""))


def blocked(server, broker, sql, database, name, seconds):
    """Peak of memory of a capture whose broker stands still with a backlog to come."""
    sql(f"SELECT pg_copy_logical_replication_slot('base', '{name}')")
    process = start_capture(server, broker, database, name)
    time.sleep(1.5)
    os.kill(broker.pid, signal.SIGSTOP)
    time.sleep(seconds)
    mb = peak_mb(process.pid)
    os.kill(broker.pid, signal.SIGCONT)
    end_capture(process)
    wait_free(sql, name)
    sql(f"SELECT pg_drop_replication_slot('{name}')")
    return mb


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the backlog (default 1.0: 1,000,000 rows)")
    args = parser.parse_args()
    # So that what was started ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    work = pathlib.Path(tempfile.mkdtemp(prefix="pgc-bench-pulsar-"))
    server, broker = Server(), Broker()
    runs = []
    try:
        database = "bench"
        subprocess.run(server.client("createdb", "unix", database), check=True)
        sql = Sql(server, database)
        go = inserts(int(10_000 * args.scale), 100)(server, database, sql)
        # Capture finds a publication as it makes it itself, so old as the backlog.
        for name in [*(f"run{i}" for i in range(args.runs)), "blocked"]:
            sql(f"CREATE PUBLICATION {name} FOR ALL TABLES")
        sql("SELECT pg_create_logical_replication_slot('base', 'pgoutput')")
        say("writing the backlog")
        go()
        end = sql("SELECT pg_current_wal_lsn()")
        sql("CHECKPOINT")
        messages = int(10_000 * args.scale) * 102
        for i in range(args.runs):
            name = f"run{i}"
            ours = capture(server, broker, sql, database, name, end)
            alone = bench(broker, "send", broker.url, LIBRARY, name, name + "-alone")
            if alone["messages"] != messages:
                raise RuntimeError(f"the topic has {alone['messages']} messages, not {messages}")
            tool = load_tool(broker, name + "-tool", messages, alone["bytes"] // messages, work)
            read = bench(broker, "read", broker.url, LIBRARY, name, messages)
            runs.append({"ours": ours, "alone": alone, "tool": tool, "read": read})
            say(f"run {i + 1}: capture {ours['seconds']:.2f} s ({ours['in_all']:.2f} s with its start), library alone {alone['seconds']:.2f} s, load tool {tool:.0f}/s, "
                f"read {read['seconds']:.2f} s")
        mb = blocked(server, broker, sql, database, "blocked", 15)
        sql.close()
    finally:
        server.stop()
        broker.stop()
        shutil.rmtree(work, ignore_errors=True)

    def median(values):
        return statistics.median(list(values))

    million = messages / 1e6

    def row(what, rates, cpu, of_broker):
        print(f"| {what} | {median(rates) / 1e3:.0f} k/s | {' '.join(f'{rate / 1e3:.0f}' for rate in rates)} | {cpu} | {of_broker} |")

    def cpu_of(key, what="cpu"):
        return f"{median(run[key][what] for run in runs) / million:.2f}"

    print(f"{os.cpu_count()} cores, {messages} messages of {runs[0]['alone']['bytes'] // messages} bytes, medians of {args.runs} runs; "
          "CPU in seconds per million messages")
    print("| | messages | each run, k/s | CPU | CPU of the broker |")
    print("|---|---|---|---|---|")
    row("capture, from the slot to the receipts", [messages / run["ours"]["seconds"] for run in runs], cpu_of("ours"), cpu_of("ours", "broker"))
    row("the same, from the start of the process", [messages / run["ours"]["in_all"] for run in runs], "", "")
    row("the library alone", [messages / run["alone"]["seconds"] for run in runs], cpu_of("alone"), cpu_of("alone", "broker"))
    row("the distribution's load tool", [run["tool"] for run in runs], "", "")
    row("reading", [messages / run["read"]["seconds"] for run in runs], cpu_of("read"), cpu_of("read", "broker"))
    for what, ratios in (("the library alone", [run["alone"]["seconds"] / run["ours"]["seconds"] for run in runs]),
                         ("the load tool", [messages / run["ours"]["seconds"] / run["tool"] for run in runs])):
        print(f"capture is {median(ratios):.2f} of {what} ({' '.join(f'{ratio:.2f}' for ratio in ratios)})")
    print(f"peak memory of capture: {max(run['ours']['mb'] for run in runs):.0f} MB; with a broker that stands still: {mb:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
