-- The day's range of each symbol, as DuckDB finds it in a table of candles.
--
--     curl -so candles.csv 'http://127.0.0.1:8700/v1/candles.csv?market=spot&symbols=BTCUSDT&intervals=1h&limit=48'
--     duckdb -f candles.sql
--
-- With its extension httpfs, DuckDB reads the URL itself: read_csv('http://…').

SELECT
    symbol,
    CAST(make_timestamp_ms(open_time) AS DATE) AS day,
    arg_min(open, open_time) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, open_time) AS close,
    count(*) AS candles
FROM read_csv('candles.csv', types = {
    'open': 'DECIMAL(38, 8)', 'high': 'DECIMAL(38, 8)', 'low': 'DECIMAL(38, 8)', 'close': 'DECIMAL(38, 8)'
})
GROUP BY symbol, day
ORDER BY symbol, day;
