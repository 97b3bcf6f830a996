// The official Go driver over HTTP against a ClickHouse server, as its users know it.
//
//	client HOST:PORT USER PASSWORD DATABASE writer|reader
//
// Each check prints one line, `name ok` or `name` and what went wrong; the tests read these lines.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const rowCount = 200_000

type check func(ctx context.Context, conn driver.Conn) error

func main() {
	address, user, password, database, who := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	open := func(method clickhouse.CompressionMethod) driver.Conn {
		conn, err := clickhouse.Open(&clickhouse.Options{
			Protocol:    clickhouse.HTTP,
			Addr:        []string{address},
			Auth:        clickhouse.Auth{Database: database, Username: user, Password: password},
			Compression: &clickhouse.Compression{Method: method},
		})
		if err != nil {
			panic(err)
		}
		return conn
	}
	run := func(name string, conn driver.Conn, one check) {
		if err := one(context.Background(), conn); err != nil {
			fmt.Println(name, strings.ReplaceAll(err.Error(), "\n", " "))
			return
		}
		fmt.Println(name, "ok")
	}
	methods := map[string]clickhouse.CompressionMethod{
		"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4,
		"zstd": clickhouse.CompressionZSTD, "gzip": clickhouse.CompressionGZIP,
	}
	for name, method := range methods {
		run("big_result_"+name, open(method), bigResult)
		if who == "writer" {
			run("insert_batch_"+name, open(method), insertBatch(name))
		}
	}
	conn := open(clickhouse.CompressionLZ4)
	run("defaults", conn, defaults)
	run("types", conn, types)
	run("parameters", conn, parameters)
	run("error", conn, wrongColumn)
	run("error_in_the_middle", conn, errorInTheMiddle)
	run("cancel", conn, cancel)
	run("query_id", conn, queryID)
	if who == "reader" {
		run("writing_is_refused", conn, writingIsRefused)
	}
}

func expect(expected, found any) error {
	if !reflect.DeepEqual(expected, found) {
		return fmt.Errorf("expected %v, found %v", expected, found)
	}
	return nil
}

func expectCode(code int32, err error) error {
	var exception *clickhouse.Exception
	if !errors.As(err, &exception) {
		return fmt.Errorf("expected the error %d, found %v", code, err)
	}
	return expect(code, exception.Code)
}

func defaults(ctx context.Context, conn driver.Conn) error {
	if err := conn.Ping(ctx); err != nil {
		return err
	}
	version, err := conn.ServerVersion()
	if err != nil {
		return err
	}
	if version.Version.Major < 25 {
		return fmt.Errorf("version %v", version)
	}
	rows, err := conn.Query(ctx, "SELECT 1 AS a WHERE 0")
	if err != nil {
		return err
	}
	defer rows.Close()
	return expect(false, rows.Next())
}

func bigResult(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx,
		fmt.Sprintf("SELECT number, concat('text ', toString(number)) FROM numbers(%d)", rowCount))
	if err != nil {
		return err
	}
	defer rows.Close()
	next := uint64(0)
	for rows.Next() {
		var number uint64
		var text string
		if err := rows.Scan(&number, &text); err != nil {
			return err
		}
		if number != next || text != fmt.Sprintf("text %d", number) {
			return fmt.Errorf("row %d is %d, %s", next, number, text)
		}
		next++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return expect(uint64(rowCount), next)
}

func insertBatch(name string) check {
	return func(ctx context.Context, conn driver.Conn) error {
		table := "go_" + name
		create := "CREATE TABLE " + table + " (id Int64, text LowCardinality(String), at DateTime64(3, 'UTC'))" +
			" ENGINE = MergeTree ORDER BY id"
		if err := conn.Exec(ctx, create); err != nil {
			return err
		}
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
		if err != nil {
			return err
		}
		for id := range int64(10_000) {
			if err := batch.Append(id, fmt.Sprintf("text %d", id%100), time.UnixMilli(id)); err != nil {
				return err
			}
		}
		if err := batch.Send(); err != nil {
			return err
		}
		var rows, texts uint64
		row := conn.QueryRow(ctx, "SELECT count(), uniqExact(text) FROM "+table)
		if err := row.Scan(&rows, &texts); err != nil {
			return err
		}
		return expect([]uint64{10_000, 100}, []uint64{rows, texts})
	}
}

func types(ctx context.Context, conn driver.Conn) error {
	var (
		text     string
		numbers  []int64
		pairs    map[string]uint8
		nothing  *int32
		at       time.Time
		category string
	)
	row := conn.QueryRow(ctx, "SELECT 'ü', [toInt64(1), 2], map('a', toUInt8(1)), CAST(NULL, 'Nullable(Int32)'),"+
		" toDateTime64('2024-02-29 12:34:56.789', 3, 'UTC'), toLowCardinality('a')")
	if err := row.Scan(&text, &numbers, &pairs, &nothing, &at, &category); err != nil {
		return err
	}
	return expect(
		[]any{"ü", []int64{1, 2}, map[string]uint8{"a": 1}, (*int32)(nil), int64(1709210096789), "a"},
		[]any{text, numbers, pairs, nothing, at.UnixMilli(), category})
}

func parameters(ctx context.Context, conn driver.Conn) error {
	var text string
	row := conn.QueryRow(ctx, "SELECT {text:String}", clickhouse.Named("text", "it's \\ \t"))
	if err := row.Scan(&text); err != nil {
		return err
	}
	return expect("it's \\ \t", text)
}

func wrongColumn(ctx context.Context, conn driver.Conn) error {
	var found uint8
	err := conn.QueryRow(ctx, "SELECT no_such_column FROM system.one").Scan(&found)
	return expectCode(47, err)
}

func errorInTheMiddle(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx,
		"SELECT number, throwIf(number = 500000) FROM numbers(600000) SETTINGS max_threads = 1")
	if err != nil {
		return expectCode(395, err)
	}
	defer rows.Close()
	for rows.Next() {
	}
	return expectCode(395, rows.Err())
}

const slow = "SELECT sleepEachRow(0.5) FROM numbers(240) SETTINGS max_block_size = 1"

func cancel(ctx context.Context, conn driver.Conn) error {
	ctx, stop := context.WithTimeout(ctx, 500*time.Millisecond)
	defer stop()
	if err := conn.Exec(ctx, slow); !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("expected the end of the context, found %v", err)
	}
	return nil
}

func queryID(ctx context.Context, conn driver.Conn) error {
	ended := make(chan error)
	go func() {
		ended <- conn.Exec(clickhouse.Context(ctx, clickhouse.WithQueryID("go slow")), slow)
	}()
	for {
		select {
		case err := <-ended:
			return expectCode(394, err)
		case <-time.After(200 * time.Millisecond):
			if err := conn.Exec(ctx, "KILL QUERY WHERE query_id = 'go slow'"); err != nil {
				return err
			}
		}
	}
}

func writingIsRefused(ctx context.Context, conn driver.Conn) error {
	for _, sql := range []string{"DROP TABLE other", "SELECT * FROM other", "SELECT file('/etc/hostname')"} {
		if err := expectCode(497, conn.Exec(ctx, sql)); err != nil {
			return err
		}
	}
	_, err := conn.PrepareBatch(ctx, "INSERT INTO other")
	if err == nil {
		return errors.New("a batch was begun")
	}
	return nil
}
