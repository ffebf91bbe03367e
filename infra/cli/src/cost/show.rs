//! What a person reads of the bill: the price first, then what it is made of and what lowers it.

use std::collections::BTreeMap;
use std::fmt;

use super::bill::Bill;
use super::{Architecture, KEY_ROTATION, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.price(f)?;
        if self.details {
            self.lines(f)?;
            self.others(f)?;
            self.levers(f)?;
            self.goals(f)?;
        } else {
            self.services(f)?;
            self.settings(f)?;
            writeln!(f, "\n`hoopoe cost --details` shows every line and what else would lower it.")?;
        }
        let notes = if self.details { self.notes.as_slice() } else { &self.notes[..1] };
        notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}

impl Report {
    /// The one number that somebody who thinks of deploying it asks for.
    fn price(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (idle, month) = (money(self.bill.idle_usd), money(self.bill.month_usd));
        if self.messages_per_day > 0.0 {
            writeln!(
                f,
                "About {month} USD a month at {} messages a day; {idle} USD when nobody talks.",
                grouped(self.messages_per_day)
            )?;
        } else {
            writeln!(f, "About {idle} USD a month when nobody talks.")?;
        }
        writeln!(
            f,
            "AWS adds {} USD a month after the first yearly rotation of the stack's KMS key, and the same after the second.\n",
            money(KEY_ROTATION)
        )?;
        writeln!(
            f,
            "{} messages a day, {} a month; {} at the prices of {} of {}, in USD\n",
            grouped(self.messages_per_day),
            grouped(self.messages_per_month),
            if self.architecture == Architecture::Arm64 { "arm64" } else { "x86_64" },
            self.region,
            self.prices_of,
        )
    }

    /// A line for each service, the dearest of this month first.
    fn services(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for line in &self.bill.lines {
            let sum = sums.entry(line.service).or_default();
            *sum = (sum.0 + line.idle_usd, sum.1 + line.month_usd);
        }
        let mut sums: Vec<_> = sums.into_iter().filter(|(_, (idle, month))| idle + month > 0.0).collect();
        sums.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
        writeln!(f, "{:<12} {:>14} {:>12}", "", "nobody talks", "this month")?;
        for (service, (idle, month)) in sums {
            writeln!(f, "{service:<12} {:>14} {:>12}", money(idle), money(month))?;
        }
        writeln!(f, "{:<12} {:>14} {:>12}", "sum", money(self.bill.idle_usd), money(self.bill.month_usd))
    }

    /// What an operator can set.
    fn settings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nParameters of the template that lower it, when nobody talks and for a million messages:")?;
        for lever in self.levers.iter().filter(|lever| lever.setting) {
            writeln!(f, "{:>14} {:>12}   {}", money(-lever.idle_usd), money(-lever.per_million_usd), lever.what)?;
        }
        Ok(())
    }

    /// Every line of the bill.
    fn lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bill { lines, idle_usd, per_million_usd, month_usd, batches: [inference, deliver] } = &self.bill;
        let columns = ["", "", "idle, a month", "for a million", "this month"];
        writeln!(f, "{:<12} {:<30} {:>14} {:>14} {:>12}", columns[0], columns[1], columns[2], columns[3], columns[4])?;
        let mut service = "";
        for line in lines {
            let name = if line.service == service { "" } else { line.service };
            service = line.service;
            let usd = [line.idle_usd, line.per_million_usd, line.month_usd].map(money);
            writeln!(f, "{name:<12} {:<30} {:>14} {:>14} {:>12}", line.item, usd[0], usd[1], usd[2])?;
        }
        let usd = [*idle_usd, *per_million_usd, *month_usd].map(money);
        writeln!(f, "{:<43} {:>14} {:>14} {:>12}", "sum", usd[0], usd[1], usd[2])?;

        writeln!(
            f,
            "\nmost of it     {}",
            self.services.iter().take(3).map(|(name, usd)| format!("{name} {usd:.2}")).collect::<Vec<_>>().join(", ")
        )?;
        writeln!(
            f,
            "batches        {inference:.1} messages for inference, {deliver:.1} for deliver; a million are {:.2} in batches of 1, \
             {:.2} of 10",
            self.per_million_in_batches_of_1_usd, self.per_million_in_batches_of_10_usd
        )?;
        let writes = self.writes.iter().map(|(number, units)| format!("{units:.1} at message {number}"));
        writeln!(f, "write units    {}", writes.collect::<Vec<_>>().join(", "))?;
        Ok(())
    }

    /// Other ways to run the bot.
    fn others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for other in &self.others {
            writeln!(f, "{:<38} {:>19} {:>27}", other.name, money(other.idle_usd), money(other.month_usd))?;
        }
        Ok(())
    }

    /// What would lower the bill, in settings and in code.
    fn levers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nwhat would lower it{:>38} {:>14}", "idle, a month", "for a million")?;
        for lever in &self.levers {
            let kind = if lever.setting { "setting" } else { "change" };
            writeln!(
                f,
                "{:>57} {:>14}   {kind}: {}",
                money(-lever.idle_usd),
                money(-lever.per_million_usd),
                lever.what
            )?;
        }
        for (name, sum) in [("with the settings", &self.with_settings), ("with all", &self.with_all)] {
            writeln!(f, "{name:<42} {:>14} {:>14}", money(sum.idle_usd), money(sum.per_million_usd))?;
        }
        Ok(())
    }

    /// What the project set itself.
    fn goals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for goal in &self.goals {
            let met = if goal.met { "met" } else { "NOT MET" };
            writeln!(f, "{met:<8} {}: {}", goal.goal, goal.measured)?;
            if let Some(why) = &goal.why {
                writeln!(f, "         {why}")?;
            }
        }
        Ok(())
    }
}

/// Dollars to the cent, and what is less than that as such.
fn money(usd: f64) -> String {
    match usd.abs() {
        0.0 => "-".to_owned(),
        less if less < 0.005 => "< 0.01".to_owned(),
        _ => format!("{usd:.2}"),
    }
}

/// A whole number with commas.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!([0.0, 999.4, 1000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.001, -0.26, 12.345].map(money), ["-", "< 0.01", "-0.26", "12.35"]);
    }
}
