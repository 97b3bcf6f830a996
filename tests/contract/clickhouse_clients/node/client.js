// The official client for Node against a ClickHouse server, as its users know it.
//
//     node client.js URL USER PASSWORD DATABASE writer|reader
//
// Each check prints one line, `name ok` or `name` and what went wrong; the tests read these lines.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@clickhouse/client";

const [url, username, password, database, who] = process.argv.slice(2);
const ROWS = 200_000;
const SLOW = "SELECT sleepEachRow(0.5) FROM numbers(240) SETTINGS max_block_size = 1";

function open(options = {}) {
  return createClient({ url, username, password, database, ...options });
}

async function check(name, run, options = {}) {
  const client = open(options);
  try {
    await run(client);
    console.log(`${name} ok`);
  } catch (error) {
    console.log(`${name} ${String(error).replaceAll("\n", " ")}`);
  } finally {
    await client.close();
  }
}

async function rowsOf(client, query, format = "JSONEachRow", more = {}) {
  return (await client.query({ query, format, ...more })).json();
}

async function defaults(client) {
  assert.equal((await client.ping()).success, true);
  assert.equal((await client.ping({ select: true })).success, true);
  assert.deepEqual(await rowsOf(client, "SELECT 'x' AS a"), [{ a: "x" }]);
  const whole = await rowsOf(client, "SELECT 1 AS a WHERE 0", "JSON");
  assert.equal(whole.rows, 0);
}

async function bigResult(client) {
  const query = `SELECT number, concat('text ', toString(number)) AS text FROM numbers(${ROWS})`;
  const result = await client.query({ query, format: "JSONCompactEachRow" });
  let next = 0;
  for await (const rows of result.stream()) {
    for (const row of rows) {
      const [number, text] = row.json();
      assert.equal(Number(number), next);
      assert.equal(text, `text ${next}`);
      next += 1;
    }
  }
  assert.equal(next, ROWS);
}

async function parameters(client) {
  const values = { text: "it's \\ \t", numbers: [1, 2], at: new Date(1_700_000_000_000) };
  const query =
    "SELECT {text:String} AS text, {numbers:Array(UInt8)} AS numbers," +
    " toUnixTimestamp({at:DateTime}) AS at";
  assert.deepEqual(await rowsOf(client, query, "JSONEachRow", { query_params: values }), [
    { text: values.text, numbers: [1, 2], at: 1_700_000_000 },
  ]);
}

async function insertRows(client, table) {
  await client.command({
    query: `CREATE TABLE ${table} (id Int64, text String) ENGINE = MergeTree ORDER BY id`,
  });
  const values = Array.from({ length: 10_000 }, (_, id) => ({ id, text: `text ${id}` }));
  const inserted = await client.insert({ table, values, format: "JSONEachRow" });
  assert.equal(inserted.executed, true);
  assert.equal(Number(inserted.summary.written_rows), 10_000);
  const query = `SELECT toUInt32(uniqExact(text)) AS texts FROM ${table}`;
  assert.deepEqual(await rowsOf(client, query), [{ texts: 10_000 }]);
}

async function error(client) {
  await assert.rejects(rowsOf(client, "SELECT no_such_column FROM system.one"), {
    code: "47",
    type: "UNKNOWN_IDENTIFIER",
  });
}

async function errorInTheMiddle(client) {
  const query =
    "SELECT number, throwIf(number = 500000) FROM numbers(600000) SETTINGS max_threads = 1";
  await assert.rejects(async () => {
    const result = await client.query({ query, format: "JSONCompactEachRow" });
    for await (const rows of result.stream()) assert.ok(rows.length);
  });
}

async function cancel(client) {
  const controller = new AbortController();
  const query_id = `aborted by ${who}`;
  const query = client.query({ query: SLOW, query_id, abort_signal: controller.signal });
  await sleep(500);
  controller.abort();
  await assert.rejects(query, /aborted/i);
}

async function queryId(client) {
  let ended = false;
  const query_id = `slow one of ${who}`;
  const query = client.query({ query: SLOW, query_id }).finally(() => (ended = true));
  query.catch(() => {});
  while (!ended) {
    await sleep(200);
    await client.command({ query: `KILL QUERY WHERE query_id = '${query_id}'` });
  }
  await assert.rejects(query, { code: "394" });
}

async function session(client) {
  const session_id = `node ${Date.now()}`;
  await client.command({ query: "SET max_block_size = 777", session_id });
  const asked = "SELECT toUInt32(getSetting('max_block_size')) AS size";
  assert.deepEqual(await rowsOf(client, asked, "JSONEachRow", { session_id }), [{ size: 777 }]);
}

async function writingIsRefused(client) {
  for (const query of ["DROP TABLE other", "SELECT file('/etc/hostname')"]) {
    await assert.rejects(client.command({ query }), { code: "497" });
  }
  const insert = { table: "other", values: [{ a: "x" }], format: "JSONEachRow" };
  await assert.rejects(client.insert(insert), { code: "497" });
}

const compressed = { compression: { request: true, response: true } };
await check("defaults", defaults);
await check("big_result", bigResult);
await check("big_result_compressed", bigResult, compressed);
await check("parameters", parameters);
await check("error", error);
await check("error_in_the_middle", errorInTheMiddle);
await check("cancel", cancel);
await check("query_id", queryId);
if (who === "writer") {
  await check("insert", (client) => insertRows(client, "node_plain"));
  await check("insert_compressed", (client) => insertRows(client, "node_compressed"), compressed);
  await check("session", session);
} else {
  await check("writing_is_refused", writingIsRefused);
}
