//! Print each candle that closes, once: one question that waits, in place of polling.
//!
//!     cargo run -- http://127.0.0.1:8700 BTCUSDT,ETHUSDT 1m

use std::{collections::HashMap, env, error::Error, thread::sleep, time::Duration};

use reqwest::{blocking::Client, StatusCode, Url};
use serde::Deserialize;

/// A row, which is an array; numbers that Binance sends as text stay text.
#[derive(Deserialize)]
#[allow(dead_code)] // what this example does not print
struct Candle {
    open_time: i64,
    open: String,
    high: String,
    low: String,
    close: String,
    volume: String,
    close_time: i64,
    quote_volume: String,
    trades: u64,
    taker_buy_volume: String,
    taker_buy_quote_volume: String,
    closed: bool,
}

/// Rows, or an error in their place.
#[derive(Deserialize)]
struct Series {
    symbol: String,
    interval: String,
    #[serde(default)]
    stale: bool,
    #[serde(default)]
    rows: Vec<Candle>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: i64,
    msg: String,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
    series: Vec<Series>,
}

/// `None`: nothing closed while it waited.
fn ask(client: &Client, base: &str, question: &[(&str, &str)]) -> Result<Option<Answer>, Box<dyn Error>> {
    let url = Url::parse_with_params(&format!("{base}/v1/candles"), question)?;
    let reply = client.get(url).send()?;
    match reply.status() {
        StatusCode::OK => Ok(Some(reply.json()?)),
        StatusCode::NO_CONTENT => Ok(None),
        status => Err(format!("{status}: {}", reply.text()?).into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let sent: Vec<String> = env::args().skip(1).collect();
    let [base, symbols, interval] = &sent[..] else {
        return Err("usage: candles URL SYMBOLS INTERVAL".into());
    };
    let client = Client::builder().timeout(Duration::from_secs(75)).build()?;
    let mut token = String::new();
    let mut shown: HashMap<String, i64> = HashMap::new();
    loop {
        let mut question =
            vec![("market", "spot"), ("symbols", symbols), ("intervals", interval), ("limit", "10"), ("closed", "true")];
        if !token.is_empty() {
            question.extend([("since", token.as_str()), ("wait", "30")]);
        }
        let answer = match ask(&client, base, &question) {
            Ok(Some(answer)) => answer,
            Ok(None) => continue,
            Err(error) => {
                eprintln!("{error}");
                sleep(Duration::from_secs(1));
                continue;
            }
        };
        for series in answer.series {
            if let Some(Failure { code, msg }) = series.error {
                eprintln!("{}: {msg} ({code})", series.symbol);
            } else if series.stale {
                eprintln!("{}: no fresh data", series.symbol);
            } else {
                let last = shown.entry(series.symbol.clone()).or_insert(0);
                for candle in series.rows.iter().filter(|candle| candle.open_time > *last) {
                    println!("{} {} {} {}", series.symbol, series.interval, candle.open_time, candle.close);
                }
                *last = series.rows.last().map_or(*last, |candle| candle.open_time);
            }
        }
        token = answer.token;
    }
}
