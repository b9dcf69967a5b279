"""Reads what Trainyard writes for experiment trackers, with the programs of their makers. Prints JSON.

usage: trackers.py tensorboard FOLDER | wandb FILE
"""

import json
import sys


def tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    texts = {}
    for tag in tags["tensors"]:
        assert events.SummaryMetadata(tag).plugin_data.plugin_name == "text"
        texts[tag] = events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
    scalars = {tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in tags["scalars"]}
    return {"scalars": scalars, "texts": texts}


def wandb(path):
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    store = DataStore()
    store.open_for_scan(path)
    read = {"kinds": [], "history": []}
    items = lambda message: {item.key: json.loads(item.value_json) for item in message}
    while (data := store.scan_data()) is not None:
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        read["kinds"].append(kind)
        if kind == "run":
            run = record.run
            read["run"] = {"id": run.run_id, "project": run.project, "name": run.display_name, "notes": run.notes}
            read["config"] = items(run.config.update)
        elif kind == "history":
            read["history"].append([record.history.step.num, items(record.history.item)])
        elif kind == "summary":
            read["summary"] = items(record.summary.update)
        elif kind == "exit":
            read["exit"] = [record.exit.exit_code, record.exit.runtime]
    return read


print(json.dumps({"tensorboard": tensorboard, "wandb": wandb}[sys.argv[1]](sys.argv[2])))
