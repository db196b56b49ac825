#!/usr/bin/python3
"""usage: read_topic.py FOLDER URL TOPIC COUNT

Reads so many messages from the beginning of a topic with Apache's Python client, out of FOLDER, and prints a line for each: its key, the
bytes of its id as this client writes them, its place in its batch, and its payload, bytes in hexadecimal.
"""
import sys


def main():
    folder, url, topic, count = sys.argv[1:]
    sys.path.insert(0, folder)
    import pulsar  # pylint: disable=import-outside-toplevel

    client = pulsar.Client(url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    for _ in range(int(count)):
        message = reader.read_next(timeout_millis=30_000)
        message_id = message.message_id()
        print(message.partition_key(), message_id.serialize().hex(), message_id.batch_index(), message.data().hex())
    client.close()


main()
