"""Judges requests by the JSON schemas of kuryr-libnetwork.

Reads lines of {"method": ..., "body": ...} and answers each with one line: a JSON text, which is
empty when the request is right, or null when Kuryr has no schema for the method.
"""

import json
import sys
import types

import jsonschema

# The package itself would import all of Kuryr and OpenStack's libraries.
package = types.ModuleType("kuryr_libnetwork")
package.__path__ = [f"{sys.argv[1]}/kuryr_libnetwork"]
sys.modules["kuryr_libnetwork"] = package
from kuryr_libnetwork import schemata  # noqa: E402

SCHEMAS = {
    "NetworkDriver.CreateNetwork": schemata.NETWORK_CREATE_SCHEMA,
    "NetworkDriver.DeleteNetwork": schemata.NETWORK_DELETE_SCHEMA,
    "NetworkDriver.CreateEndpoint": schemata.ENDPOINT_CREATE_SCHEMA,
    "NetworkDriver.EndpointOperInfo": schemata.ENDPOINT_INFO_SCHEMA,
    "NetworkDriver.DeleteEndpoint": schemata.ENDPOINT_DELETE_SCHEMA,
    "NetworkDriver.Join": schemata.JOIN_SCHEMA,
    "NetworkDriver.Leave": schemata.LEAVE_SCHEMA,
    "IpamDriver.RequestPool": schemata.REQUEST_POOL_SCHEMA,
    "IpamDriver.ReleasePool": schemata.RELEASE_POOL_SCHEMA,
    "IpamDriver.RequestAddress": schemata.REQUEST_ADDRESS_SCHEMA,
    "IpamDriver.ReleaseAddress": schemata.RELEASE_ADDRESS_SCHEMA,
}


def judge(method, body):
    schema = SCHEMAS.get(method)
    if schema is None:
        return None
    # The draft that jsonschema 3 takes for these schemas; Kuryr was written for that version.
    errors = jsonschema.Draft7Validator(schema).iter_errors(body)
    return "; ".join(f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in errors)


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(judge(request["method"], request["body"])), flush=True)
