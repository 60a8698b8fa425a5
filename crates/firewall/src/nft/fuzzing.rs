//! An object from the kernel, read as each kind of object there is.

use super::view;

pub(crate) fn read_as_everything(object: &[u8]) {
    let _no_panic = view::generation(object);
    let _no_panic = view::set_name(object);
    let _no_panic = view::set_place(object);
    let _no_panic = view::hooked_chain(object);
    let _no_panic = view::base_chain(object);
    for element in view::elements(object).unwrap_or_default() {
        assert!(element.key.len() < object.len(), "{element:?}");
    }
    if let Ok(rule) = view::rule(object) {
        assert!(rule.expressions.len() <= object.len() / 4, "{rule:?}");
        let _no_panic = rule.serves("set");
        crate::iptables::forward::read_rule(&rule);
    }
}
