//! Attribute numbers of `linux/netfilter/nf_tables.h` and `nfnetlink.h`, by object.

pub(super) const BATCH_GENERATION: u16 = 1;

pub(super) const GENERATION_ID: u16 = 1;

pub(super) const TABLE_NAME: u16 = 1;

pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const HOOK_NUMBER: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;

pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_HANDLE: u16 = 3;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const RULE_USERDATA: u16 = 7;

pub(super) const SET_TABLE: u16 = 1;
pub(super) const SET_NAME: u16 = 2;
pub(super) const SET_FLAGS: u16 = 3;
pub(super) const SET_KEY_TYPE: u16 = 4;
pub(super) const SET_KEY_LENGTH: u16 = 5;
pub(super) const SET_DATA_TYPE: u16 = 6;
pub(super) const SET_DATA_LENGTH: u16 = 7;
pub(super) const SET_ID: u16 = 10;
pub(super) const SET_USERDATA: u16 = 13;

pub(super) const ELEMENTS_TABLE: u16 = 1;
pub(super) const ELEMENTS_SET: u16 = 2;
pub(super) const ELEMENTS_LIST: u16 = 3;
pub(super) const ELEMENT_KEY: u16 = 1;
pub(super) const ELEMENT_DATA: u16 = 2;
pub(super) const ELEMENT_USERDATA: u16 = 6;

pub(super) const DATA_VERDICT: u16 = 2;
pub(super) const VERDICT_CODE: u16 = 1;
pub(super) const VERDICT_CHAIN: u16 = 2;

pub(super) const EXPR_NAME: u16 = 1;
pub(super) const EXPR_DATA: u16 = 2;

pub(super) const META_DESTINATION: u16 = 1;
pub(super) const META_KEY: u16 = 2;
pub(super) const META_SOURCE: u16 = 3;

pub(super) const CT_DESTINATION: u16 = 1;
pub(super) const CT_KEY: u16 = 2;

pub(super) const MATCH_NAME: u16 = 1;
pub(super) const MATCH_REVISION: u16 = 2;
pub(super) const MATCH_INFO: u16 = 3;

pub(super) const FIB_DESTINATION: u16 = 1;
pub(super) const FIB_RESULT: u16 = 2;
pub(super) const FIB_FLAGS: u16 = 3;

pub(super) const PAYLOAD_DESTINATION: u16 = 1;
pub(super) const PAYLOAD_BASE: u16 = 2;
pub(super) const PAYLOAD_OFFSET: u16 = 3;
pub(super) const PAYLOAD_LENGTH: u16 = 4;

pub(super) const BITWISE_SOURCE: u16 = 1;
pub(super) const BITWISE_DESTINATION: u16 = 2;
pub(super) const BITWISE_LENGTH: u16 = 3;
pub(super) const BITWISE_MASK: u16 = 4;
pub(super) const BITWISE_XOR: u16 = 5;

pub(super) const COMPARE_SOURCE: u16 = 1;
pub(super) const COMPARE_OPERATION: u16 = 2;
pub(super) const COMPARE_DATA: u16 = 3;

pub(super) const LOOKUP_SET: u16 = 1;
pub(super) const LOOKUP_SOURCE: u16 = 2;
pub(super) const LOOKUP_DESTINATION: u16 = 3;
pub(super) const LOOKUP_FLAGS: u16 = 5;

pub(super) const IMMEDIATE_DESTINATION: u16 = 1;
pub(super) const IMMEDIATE_DATA: u16 = 2;

pub(super) const NAT_TYPE: u16 = 1;
pub(super) const NAT_FAMILY: u16 = 2;
pub(super) const NAT_ADDRESS: u16 = 3;
pub(super) const NAT_PORT: u16 = 5;
