//! One container's way through the plugins of a network configuration list, as a runtime leads it:
//! each gets the result of those before it, and of the capability arguments those that it declares.

use cni_testkit::{Conf, Netns, Outcome, Runner, Suite};
use serde_json::{Map, Value, json};

/// The interface that attachments get.
pub const IFNAME: &str = "eth0";

/// A container and a network.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    suite: &'a Suite,
    list: &'a Value,
    id: &'a str,
    netns: &'a Netns,
    capabilities: Value,
    netns_is_gone: bool,
    fast_paths: Option<&'a str>,
}

impl<'a> Attachment<'a> {
    /// Of the plugins of `suite`, without capability arguments.
    pub fn new(suite: &'a Suite, list: &'a Value, id: &'a str, netns: &'a Netns) -> Self {
        Self {
            suite,
            list,
            id,
            netns,
            capabilities: json!({}),
            netns_is_gone: false,
            fast_paths: None,
        }
    }

    /// With a value of `TENON_FAST_PATHS`.
    #[must_use]
    pub fn fast_paths(mut self, value: Option<&'a str>) -> Self {
        self.fast_paths = value;
        self
    }

    /// Without `CNI_NETNS`, as after a restart of the machine.
    #[must_use]
    pub fn without_netns(mut self) -> Self {
        self.netns_is_gone = true;
        self
    }

    /// With capability arguments, e.g. `{"portMappings": []}`.
    #[must_use]
    pub fn capabilities(mut self, arguments: Value) -> Self {
        self.capabilities = arguments;
        self
    }

    /// One command of one plugin; `prev_result` may be null.
    pub fn call(&self, command: &str, plugin: &Value, prev_result: &Value) -> Outcome {
        self.runner(command, plugin, prev_result).run()
    }

    /// The same, not run yet.
    pub fn runner(&self, command: &str, plugin: &Value, prev_result: &Value) -> Runner {
        let list = json!({"cniVersion": self.list["cniVersion"], "name": self.list["name"]});
        let mut conf = Conf(plugin.clone()).with(list).without("capabilities");
        let arguments = self.arguments_for(plugin);
        if !arguments.is_empty() {
            conf = conf.with(json!({"runtimeConfig": arguments}));
        }
        if !prev_result.is_null() {
            conf = conf.prev_result(prev_result);
        }
        let call = self.suite.plugin(plugin["type"].as_str().unwrap());
        let call = call.command(command).conf(&conf);
        let mut call = call.attachment(self.id, self.netns, IFNAME);
        if self.netns_is_gone {
            call = call.netns("");
        }
        if let Some(value) = self.fast_paths {
            call = call.env("TENON_FAST_PATHS", value);
        }
        call
    }

    fn arguments_for(&self, plugin: &Value) -> Map<String, Value> {
        let all = self.capabilities.as_object().unwrap().iter();
        let declared = all.filter(|(key, _)| plugin["capabilities"][key.as_str()] == true);
        declared
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// ADD of each plugin in order; the result of the last one.
    #[track_caller]
    pub fn add(&self) -> Value {
        let mut result = Value::Null;
        for plugin in self.plugins() {
            result = self.call("ADD", plugin, &result).expect_ok().json();
        }
        result
    }

    /// CHECK of each plugin, which has to find everything as it was made.
    #[track_caller]
    pub fn check(&self, result: &Value) {
        for plugin in self.plugins() {
            self.call("CHECK", plugin, result).expect_silent_ok();
        }
    }

    /// DEL of each plugin, the last one first.
    #[track_caller]
    pub fn del(&self, result: &Value) {
        for plugin in self.plugins().iter().rev() {
            self.call("DEL", plugin, result).expect_silent_ok();
        }
    }

    /// The plugins of the list.
    pub fn plugins(&self) -> &'a [Value] {
        self.list["plugins"].as_array().unwrap()
    }
}
