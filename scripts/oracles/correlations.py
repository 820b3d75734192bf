"""What the SQL of pySigma's SQLite backend finds: documents and histories in, one line for each history out.

Of a correlation come the ends of its windows, as [second since 1970, group]; null when the backend refuses it.
"""

import json
import sqlite3
import sys
from importlib.metadata import version

from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaError


def sql_of(wanted, documents):
    """The query of one correlation; the documents it refers to come before it."""
    named = [one for one in documents if "detection" in one or one["name"] in wanted["correlation"]["rules"]]
    try:
        return sqliteBackend().convert(SigmaCollection.from_dicts([*named, wanted]))[-1]
    except SigmaError:
        return None


def flat(value, path=""):
    for name, one in value.items():
        if isinstance(one, dict):
            yield from flat(one, f"{path}{name}.")
        elif not isinstance(one, list):
            yield path + name, one


def ends(query, records):
    database = sqlite3.connect(":memory:")
    rows = [{**dict(flat(one)), "timestamp": one["eventTime"]} for one in records]
    columns = sorted({name for row in rows for name in row})
    database.execute(f"CREATE TABLE logs ({', '.join(f'`{one}`' for one in columns)})")
    places = ", ".join("?" * len(columns))
    database.executemany(f"INSERT INTO logs VALUES ({places})", [[row.get(one) for one in columns] for row in rows])
    found = database.execute(query)
    names = [one[0] for one in found.description]
    alerts = [dict(zip(names, row)) for row in found]
    return [[one["window_end"], *json.loads(one["group_keys"]).values()] for one in alerts]


if sys.argv[1:] == ["--version"]:
    print("pysigma-backend-sqlite", version("pysigma-backend-sqlite"))
    sys.exit()
asked = json.load(sys.stdin)
queries = {one["name"]: sql_of(one, asked["documents"]) for one in asked["documents"] if "correlation" in one}
for history in asked["histories"]:
    print(json.dumps({name: query and ends(query, history) for name, query in queries.items()}))
