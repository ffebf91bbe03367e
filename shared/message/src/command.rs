//! The commands every channel understands.
//!
//! [`COMMANDS`] is the list: what people type, and what they are told of it. Registrations, the steps in the platforms'
//! consoles and the help that the bot gives are made from it. A new command is an entry here, a variant of [`Command`],
//! and what the bot does then.

use crate::Language;

/// A message that steers the bot instead of asking it something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The welcome. Telegram, Messenger and others send it when a person opens the chat.
    Start,
    /// What the bot can do.
    Help,
    /// Forget the session.
    New,
    /// Answer in this language from now on; `None` if no language can be read.
    Lang(Option<Language>),
}

/// A command, as it is typed and as people are told of it.
#[derive(Debug)]
pub struct CommandSpec {
    /// What follows the `/`.
    pub name: &'static str,
    /// The Chinese name, where a platform shows one.
    pub chinese_name: &'static str,
    /// What a person does with it, in a few words.
    pub summary: Words,
    /// What follows the command in the bot's help; `None` if people need not be told of it.
    pub help: Option<Words>,
    /// What follows the command.
    pub argument: Option<ArgumentSpec>,
    /// The command with its argument.
    read: fn(Option<&str>) -> Command,
}

/// What follows a command.
#[derive(Debug)]
pub struct ArgumentSpec {
    /// Its name.
    pub name: &'static str,
    /// The Chinese name.
    pub chinese_name: &'static str,
    /// What it is.
    pub summary: Words,
    /// What people choose from: the value and its name for people.
    pub choices: &'static [(&'static str, &'static str)],
}

/// A text in the languages that all built-in texts have.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Chinese.
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

/// All commands, in the order in which people are told of them.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "start",
        chinese_name: "开始",
        summary: Words { zh: "打个招呼", en: "Say hello" },
        help: None,
        argument: None,
        read: |_| Command::Start,
    },
    CommandSpec {
        name: "help",
        chinese_name: "帮助",
        summary: Words { zh: "看看我能做什么", en: "See what I can do" },
        help: Some(Words { zh: "再次显示这段说明", en: "shows this again" }),
        argument: None,
        read: |_| Command::Help,
    },
    CommandSpec {
        name: "new",
        chinese_name: "新对话",
        summary: Words { zh: "重新开始", en: "Start over" },
        help: Some(Words {
            zh: "开始新的对话，我会忘掉之前说过的内容",
            en: "starts over: I forget what was said before",
        }),
        argument: None,
        read: |_| Command::New,
    },
    CommandSpec {
        name: "lang",
        chinese_name: "语言",
        summary: Words { zh: "选择回答的语言", en: "Choose the language of my answers" },
        help: Some(Words { zh: "切换中文或英文", en: "switches between Chinese and English" }),
        argument: Some(ArgumentSpec {
            name: "code",
            chinese_name: "语言",
            summary: Words { zh: "回答用的语言", en: "The language" },
            choices: &[("zh", "中文"), ("en", "English")],
        }),
        read: |code| Command::Lang(code.and_then(|code| code.to_ascii_lowercase().parse().ok())),
    },
];

impl CommandSpec {
    /// The command of this name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name.eq_ignore_ascii_case(name))
    }

    /// What people may type: the command, or the command with each choice of its argument.
    #[must_use]
    pub fn usages(&self) -> Vec<String> {
        match &self.argument {
            None => vec![format!("/{}", self.name)],
            Some(argument) => argument.choices.iter().map(|(value, _)| format!("/{} {value}", self.name)).collect(),
        }
    }

    /// The commands that people are told of.
    pub fn told() -> impl Iterator<Item = &'static Self> {
        COMMANDS.iter().filter(|command| command.help.is_some())
    }
}

/// What the bot's help says of the commands, one a line.
#[must_use]
pub fn help(chinese: bool) -> String {
    let lines = COMMANDS.iter().filter_map(|command| {
        let Words { zh, en } = command.help?;
        let (or, help) = if chinese { (" 或 ", zh) } else { (" or ", en) };
        Some(format!("{} {help}", command.usages().join(or)))
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Command {
    /// Reads a command; `None` where the text is not one of ours, which makes it an ordinary question.
    ///
    /// Case does not matter, and neither does what follows a command that takes no argument: Telegram's deep links
    /// open a chat with `/start <payload>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().strip_prefix('/')?.split_whitespace();
        let command = CommandSpec::named(words.next()?)?;
        Some((command.read)(words.next()))
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
    fn every_command_is_typed_as_people_are_told() {
        for command in COMMANDS {
            for usage in command.usages() {
                let read = Command::parse(&usage);
                assert!(read.is_some() && read != Some(Command::Lang(None)), "{usage}");
            }
        }
    }

    #[test]
    fn the_help_names_what_people_need() {
        let [zh, en] = [true, false].map(help);
        assert_eq!(zh.lines().last(), Some("/lang zh 或 /lang en 切换中文或英文"));
        assert_eq!(en.lines().last(), Some("/lang zh or /lang en switches between Chinese and English"));
        assert!(!zh.contains("/start") && !en.contains("/start"));
    }

    #[test]
    fn anything_else_is_a_question() {
        for text in ["", "/", "start", "/starting", "how do I /start"] {
            assert_eq!(Command::parse(text), None, "{text:?}");
        }
    }
}
