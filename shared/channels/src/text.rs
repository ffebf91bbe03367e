//! What the platforms share in reading and cutting text.
//!
//! | module | what is in it |
//! |---|---|
//! | [`split`] | cutting a long reply at a platform's limit |
//! | `group` | what is for the bot where several people talk |
//! | `xml` | reading the XML of WeCom and WeChat |

pub(crate) mod group;
pub mod split;
pub(crate) mod xml;
