//! The commands every channel understands.

use crate::Language;

/// A message that steers the bot instead of asking it something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `/start`: the welcome.
    Start,
    /// `/help`: what the bot can do.
    Help,
    /// `/new`: forget the session.
    New,
    /// `/lang zh`: answer in this language from now on; without a readable language, `None`.
    Lang(Option<Language>),
}

impl Command {
    /// Reads a command; `None` where the text is not one of ours, which makes it an ordinary question.
    ///
    /// Case does not matter, and neither does what follows a command that takes no argument: Telegram's deep links
    /// open a chat with `/start <payload>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().strip_prefix('/')?.split_whitespace();
        let name = words.next()?;
        let is = |command: &str| name.eq_ignore_ascii_case(command);
        if is("start") {
            Some(Self::Start)
        } else if is("help") {
            Some(Self::Help)
        } else if is("new") {
            Some(Self::New)
        } else if is("lang") {
            Some(Self::Lang(words.next().and_then(|code| code.to_ascii_lowercase().parse().ok())))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_their_argument() {
        assert_eq!(Command::parse(" /start ref42"), Some(Command::Start));
        assert_eq!(Command::parse("/HELP"), Some(Command::Help));
        assert_eq!(Command::parse("/new"), Some(Command::New));
        assert_eq!(Command::parse("/lang ZH"), Some(Command::Lang("zh".parse().ok())));
        assert_eq!(Command::parse("/lang"), Some(Command::Lang(None)));
        assert_eq!(Command::parse("/lang 中文"), Some(Command::Lang(None)));
    }

    #[test]
    fn anything_else_is_a_question() {
        for text in ["", "/", "start", "/starting", "how do I /start"] {
            assert_eq!(Command::parse(text), None, "{text:?}");
        }
    }
}
