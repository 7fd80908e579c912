// Print each candle that closes, once: one question that waits, in place of polling. The standard library will do.
//
//	go run main.go http://127.0.0.1:8700 BTCUSDT,ETHUSDT 1m
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Candle is a row; numbers that Binance sends as text stay text.
type Candle struct {
	OpenTime, CloseTime, Trades               int64
	Open, High, Low, Close                    string
	Volume, QuoteVolume, TakerBuy, TakerQuote string
	Closed                                    bool
}

// UnmarshalJSON reads a row, which is an array.
func (c *Candle) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{
		&c.OpenTime, &c.Open, &c.High, &c.Low, &c.Close, &c.Volume, &c.CloseTime,
		&c.QuoteVolume, &c.Trades, &c.TakerBuy, &c.TakerQuote, &c.Closed,
	})
}

// Series has rows, or an error in their place.
type Series struct {
	Symbol, Interval string
	Stale            bool
	Rows             []Candle
	Error            *struct {
		Code int
		Msg  string
	}
}

// Answer is what /v1/candles sends.
type Answer struct {
	Token  string
	Series []Series
}

func ask(base string, question url.Values) (Answer, bool, error) {
	var answer Answer
	reply, err := http.Get(base + "/v1/candles?" + question.Encode())
	if err != nil {
		return answer, false, err
	}
	defer reply.Body.Close()
	switch reply.StatusCode {
	case http.StatusOK:
		return answer, true, json.NewDecoder(reply.Body).Decode(&answer)
	case http.StatusNoContent: // nothing closed while it waited
		return answer, false, nil
	}
	body, _ := io.ReadAll(reply.Body)
	return answer, false, fmt.Errorf("%s: %s", reply.Status, body)
}

func main() {
	base, symbols, interval := os.Args[1], os.Args[2], os.Args[3]
	question := url.Values{
		"market": {"spot"}, "symbols": {symbols}, "intervals": {interval}, "limit": {"10"}, "closed": {"true"},
	}
	shown := map[string]int64{}
	for {
		answer, news, err := ask(base, question)
		if err != nil {
			log.Print(err)
			time.Sleep(time.Second)
			continue
		}
		if !news {
			continue
		}
		question.Set("since", answer.Token)
		question.Set("wait", "30")
		for _, series := range answer.Series {
			if series.Error != nil || series.Stale {
				log.Print(series.Symbol, ": no fresh data")
				continue
			}
			for _, candle := range series.Rows {
				if candle.OpenTime > shown[series.Symbol] {
					shown[series.Symbol] = candle.OpenTime
					fmt.Println(series.Symbol, series.Interval, candle.OpenTime, candle.Close)
				}
			}
		}
	}
}
