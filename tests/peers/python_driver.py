"""A CNM network driver on PyPI's docker-plugin-api: another parser, another order of work.

Its parser refuses every key that it does not know and every call that lacks one. A network is a
bridge, an endpoint a veth pair that Join makes and Leave removes. Listens at the unix socket argv[1].
"""

import subprocess
import sys

from docker_plugin_api import NetworkDriverEntities as entities
from docker_plugin_api.Plugin import Blueprint, InputValidationException, app as plugin, functions
from flask import Flask, request
from werkzeug.serving import WSGIRequestHandler

networks, endpoints = {}, {}
functions.append("NetworkDriver")
driver = Blueprint("NetworkDriver", __name__)


def parsed(entity):
    try:
        return entity(**request.get_json(force=True))
    except TypeError as error:
        raise InputValidationException(f"{entity.__name__}: {error}") from error


def known(found, what, name):
    if found is None:
        raise InputValidationException(f"no {what} {name}")
    return found


def ip(words):
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputValidationException(f"ip {words}: {done.stderr.strip()}")


@driver.route("/NetworkDriver.GetCapabilities", methods=["POST"])
def get_capabilities():
    return {"Scope": "local", "ConnectivityScope": "local", "GwAllocChecker": True}


@driver.route("/NetworkDriver.GwAllocCheck", methods=["POST"])
def gw_alloc_check():
    parsed(entities.GwAllocCheckEntity)
    return {"SkipIPv4": False, "SkipIPv6": True}


@driver.route("/NetworkDriver.CreateNetwork", methods=["POST"])
def create_network():
    network = parsed(entities.NetworkCreateEntity)
    bridge = f"py{network.NetworkID[:10]}"
    ip(f"link add {bridge} type bridge")
    networks[network.NetworkID] = (bridge, [data.Gateway for data in network.IPv4])
    for gateway in filter(None, networks[network.NetworkID][1]):
        ip(f"address add {gateway} dev {bridge}")
    ip(f"link set {bridge} up")
    return {}


@driver.route("/NetworkDriver.DeleteNetwork", methods=["POST"])
def delete_network():
    network = parsed(entities.NetworkDeleteEntity)
    bridge, _ = known(networks.pop(network.NetworkID, None), "network", network.NetworkID)
    ip(f"link delete {bridge}")
    return {}


@driver.route("/NetworkDriver.CreateEndpoint", methods=["POST"])
def create_endpoint():
    endpoint = parsed(entities.EndpointCreateEntity)
    known(networks.get(endpoint.NetworkID), "network", endpoint.NetworkID)
    endpoints[endpoint.EndpointID] = endpoint
    return {"Interface": {}}


@driver.route("/NetworkDriver.EndpointOperInfo", methods=["POST"])
def endpoint_oper_info():
    endpoint = parsed(entities.EndpointOperInfoEntity)
    found = known(endpoints.get(endpoint.EndpointID), "endpoint", endpoint.EndpointID)
    return {"Value": {"address": found.Interface.Address}}


@driver.route("/NetworkDriver.DeleteEndpoint", methods=["POST"])
def delete_endpoint():
    endpoint = parsed(entities.EndpointDeleteEntity)
    known(endpoints.pop(endpoint.EndpointID, None), "endpoint", endpoint.EndpointID)
    return {}


@driver.route("/NetworkDriver.Join", methods=["POST"])
def join():
    endpoint = parsed(entities.JoinEntity)
    found = known(endpoints.get(endpoint.EndpointID), "endpoint", endpoint.EndpointID)
    bridge, gateways = networks[endpoint.NetworkID]
    host, inside = (f"py{end}{endpoint.EndpointID[:9]}" for end in "hc")
    mac = found.Interface.MacAddress and f"address {found.Interface.MacAddress}"
    ip(f"link add {host} type veth peer name {inside} {mac}")
    ip(f"link set {host} master {bridge} up")
    gateway = next(filter(None, gateways), "").split("/")[0]
    name = {"SrcName": inside, "DstPrefix": "pyeth"}
    return {"InterfaceName": name, "Gateway": gateway, "GatewayIPv6": "", "StaticRoutes": []}


@driver.route("/NetworkDriver.Leave", methods=["POST"])
def leave():
    endpoint = parsed(entities.LeaveEntity)
    ip(f"link delete pyh{endpoint.EndpointID[:9]}")
    return {}


@driver.route("/NetworkDriver.ProgramExternalConnectivity", methods=["POST"])
def program_external_connectivity():
    parsed(entities.ProgramExternalConnectivityEntity)
    return {}


@driver.route("/NetworkDriver.RevokeExternalConnectivity", methods=["POST"])
def revoke_external_connectivity():
    parsed(entities.RevokeExternalConnectivityEntity)
    return {}


app = Flask("python_driver")
app.register_blueprint(plugin)
app.register_blueprint(driver)


@app.route("/state")
def state():
    """What is left, for tests."""
    return {"networks": list(networks), "endpoints": list(endpoints)}


if __name__ == "__main__":
    WSGIRequestHandler.address_string = lambda handler: "unix"
    app.run(host=f"unix://{sys.argv[1]}", threaded=False)
