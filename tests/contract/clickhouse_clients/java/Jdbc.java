// The official JDBC driver against a ClickHouse server, as its users know it: with its defaults.
//
//     java -cp 'lib/*' Jdbc.java URL USER PASSWORD DATABASE writer|reader
//
// Each check prints one line, `name ok` or `name` and what went wrong; the tests read these lines.

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

public class Jdbc {
    interface Check {
        void run(Connection connection) throws Exception;
    }

    static final int ROWS = 200_000;
    static String url, user, password, database;

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        user = arguments[1];
        password = arguments[2];
        database = arguments[3];
        if (arguments[4].equals("writer")) {
            check("insert_batch", Jdbc::insertBatch);
            check("insert_compressed_body", Jdbc::insertCompressedBody);
            check("types", Jdbc::types);
            check("metadata_of_a_table", Jdbc::metadataOfTable);
            check("other_users_queries", Jdbc::otherUsersQueries);
        } else {
            check("views", Jdbc::views);
            check("writing_is_refused", Jdbc::writingIsRefused);
        }
        check("defaults", Jdbc::defaults);
        check("prepared_statement", Jdbc::preparedStatement);
        check("big_result", Jdbc::bigResult);
        check("error", Jdbc::error);
        check("error_in_the_middle", Jdbc::errorInTheMiddle);
        check("cancel", Jdbc::cancel);
        check("time_limit", Jdbc::timeLimit);
        check("metadata", Jdbc::metadata);
    }

    static void check(String name, Check check) {
        try (Connection connection = connect(new Properties())) {
            check.run(connection);
            System.out.println(name + " ok");
        } catch (Throwable error) {
            StringBuilder text = new StringBuilder(error.toString());
            for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
                text.append(" <- ").append(cause);
            }
            System.out.println(name + " " + text.toString().replace('\n', ' '));
        }
    }

    static Connection connect(Properties properties) throws SQLException {
        properties.setProperty("user", user);
        properties.setProperty("password", password);
        return DriverManager.getConnection(url + "/" + database, properties);
    }

    static void expect(Object expected, Object found) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    static Object one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            expect(true, rows.next());
            return rows.getObject(1);
        }
    }

    static void run(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    static List<String> names(ResultSet rows, String column) throws SQLException {
        List<String> found = new ArrayList<>();
        try (rows) {
            while (rows.next()) {
                found.add(rows.getString(column));
            }
        }
        return found;
    }

    static void defaults(Connection connection) throws Exception {
        expect(true, connection.isValid(5));
        expect(database, connection.getSchema());
        expect("x", one(connection, "SELECT 'x'"));
        try (Statement statement = connection.createStatement()) {
            try (ResultSet rows = statement.executeQuery("SELECT 1 WHERE 0")) {
                expect(false, rows.next());
            }
            statement.setMaxRows(200);
            try (ResultSet rows = statement.executeQuery("SELECT number FROM numbers(1000)")) {
                int count = 0;
                while (rows.next()) {
                    count++;
                }
                expect(200, count);
            }
        }
    }

    static void preparedStatement(Connection connection) throws Exception {
        String sql = "SELECT ? AS text, toInt64(?) AS number, ? AS nothing, toDecimal64(?, 2) AS money";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (String text : List.of("plain", "it's \"quoted\" \\ \t ? {x}", "日本 – ü")) {
                statement.setString(1, text);
                statement.setLong(2, Long.MIN_VALUE);
                statement.setObject(3, null);
                statement.setBigDecimal(4, new BigDecimal("12345.67"));
                try (ResultSet rows = statement.executeQuery()) {
                    ResultSetMetaData columns = rows.getMetaData();
                    expect("number", columns.getColumnLabel(2));
                    expect("Int64", columns.getColumnTypeName(2));
                    rows.next();
                    expect(text, rows.getString(1));
                    expect(Long.MIN_VALUE, rows.getLong("number"));
                    expect(null, rows.getObject(3));
                    expect(new BigDecimal("12345.67"), rows.getBigDecimal("money"));
                }
            }
        }
    }

    static void insertBatch(Connection connection) throws Exception {
        run(connection, "CREATE TABLE jdbc_batch (id Int64, text String, money Decimal(38, 4),"
            + " at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY id");
        String sql = "INSERT INTO jdbc_batch (id, text, money, at) VALUES (?, ?, ?, ?)";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int row = 0; row < 1000; row++) {
                statement.setLong(1, row);
                statement.setString(2, "text '" + row);
                statement.setBigDecimal(3, new BigDecimal("0.25"));
                statement.setTimestamp(4, new java.sql.Timestamp(1_700_000_000_000L + row));
                statement.addBatch();
            }
            expect(1000, statement.executeBatch().length);
        }
        expect(new BigDecimal("250.0000"), one(connection, "SELECT sum(money) FROM jdbc_batch"));
        expect(1000L, ((Number) one(connection, "SELECT toInt64(uniqExact(text)) FROM jdbc_batch"))
            .longValue());
    }

    // What the Kafka Connect sink does, whose client is this driver's: bodies in blocks.
    static void insertCompressedBody(Connection ignored) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("decompress", "true");
        try (Connection connection = connect(properties)) {
            run(connection, "CREATE TABLE jdbc_blocks (id Int64, text String)"
                + " ENGINE = MergeTree ORDER BY id");
            String sql = "INSERT INTO jdbc_blocks (id, text) VALUES (?, ?)";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                for (int row = 0; row < 20_000; row++) {
                    statement.setLong(1, row);
                    statement.setString(2, "a text that can be compressed " + row);
                    statement.addBatch();
                }
                statement.executeBatch();
            }
            expect("20000", one(connection, "SELECT toString(uniqExact(text)) FROM jdbc_blocks"));
        }
    }

    static void types(Connection connection) throws Exception {
        expect("2024-02-29T12:34:56.789Z", String.valueOf(((java.sql.Timestamp) one(connection,
            "SELECT toDateTime64('2024-02-29 12:34:56.789', 3, 'UTC')")).toInstant()));
        expect("61f0c404-5cb3-11e7-907b-a6006ad3dba0", String.valueOf(one(connection,
            "SELECT toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')")));
        expect("[1, 2]", Arrays.toString((Object[])
            ((java.sql.Array) one(connection, "SELECT [toInt64(1), 2]")).getArray()));
        expect("a", one(connection, "SELECT toLowCardinality('a')"));
        expect("{a=1}", String.valueOf(one(connection, "SELECT map('a', 1)")));
        expect(null, one(connection, "SELECT CAST(NULL, 'Nullable(Int32)')"));
    }

    static void views(Connection connection) throws Exception {
        expect(BigDecimal.class, one(connection, "SELECT net FROM seller_revenue").getClass());
        DatabaseMetaData metadata = connection.getMetaData();
        String[] kinds = {"VIEW"};
        expect(true, names(metadata.getTables(null, database, "%", kinds), "TABLE_NAME")
            .contains("seller_revenue"));
        expect(true, names(metadata.getColumns(null, database, "seller_revenue", "%"), "COLUMN_NAME")
            .contains("net"));
    }

    static void writingIsRefused(Connection connection) throws Exception {
        for (String sql : List.of("INSERT INTO other VALUES ('x')", "DROP TABLE other",
                "SELECT * FROM other", "SELECT file('/etc/hostname')", "KILL QUERY WHERE 1")) {
            try {
                run(connection, sql);
            } catch (SQLException error) {
                expect(497, error.getErrorCode());
                expect(true, error.getMessage().contains("Not enough privileges"));
                continue;
            }
            throw new AssertionError("no error for " + sql);
        }
    }

    static void bigResult(Connection connection) throws Exception {
        long sum = 0;
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(
                    "SELECT number, concat('text ', toString(number)) FROM numbers(" + ROWS + ")")) {
            while (rows.next()) {
                sum += rows.getLong(1) + rows.getString(2).length();
            }
        }
        expect(sumOfRows(), sum);
    }

    static long sumOfRows() {
        long sum = 0;
        for (long row = 0; row < ROWS; row++) {
            sum += row + 5 + Long.toString(row).length();
        }
        return sum;
    }

    static void error(Connection connection) throws Exception {
        try {
            one(connection, "SELECT no_such_column FROM system.one");
        } catch (SQLException error) {
            expect(47, error.getErrorCode());
            expect(true, error.getMessage().contains("no_such_column"));
            expect("still here", one(connection, "SELECT 'still here'"));
            return;
        }
        throw new AssertionError("no error");
    }

    static void errorInTheMiddle(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT number, throwIf(number = 500000)"
                    + " FROM numbers(600000) SETTINGS max_threads = 1")) {
            while (rows.next()) {
                rows.getLong(1);
            }
        } catch (Exception error) {
            return;
        }
        throw new AssertionError("an answer that was cut off seemed complete");
    }

    static final String SLOW =
        "SELECT sum(sleepEachRow(0.5)) FROM numbers(240) SETTINGS max_block_size = 1";

    static void cancel(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            CompletableFuture<Integer> code = CompletableFuture.supplyAsync(() -> {
                try {
                    statement.executeQuery(SLOW);
                    return 0;
                } catch (SQLException error) {
                    return error.getErrorCode();
                }
            });
            while (!code.isDone()) {
                statement.cancel();
                Thread.sleep(200);
            }
            expect(394, code.get(1, TimeUnit.SECONDS));
        }
    }

    static void timeLimit(Connection connection) throws Exception {
        try {
            one(connection, SLOW + ", max_execution_time = 1");
        } catch (SQLException error) {
            expect(159, error.getErrorCode());
            return;
        }
        throw new AssertionError("no error");
    }

    // What DBeaver and Metabase ask for when they show what is there.
    static void metadata(Connection connection) throws Exception {
        DatabaseMetaData metadata = connection.getMetaData();
        expect("ClickHouse", metadata.getDatabaseProductName());
        expect(true, metadata.getDatabaseMajorVersion() >= 25);
        expect(true, names(metadata.getSchemas(), "TABLE_SCHEM").contains(database));
        names(metadata.getCatalogs(), "TABLE_CAT");
        expect(true, names(metadata.getTableTypes(), "TABLE_TYPE").contains("VIEW"));
        expect(true, names(metadata.getTypeInfo(), "TYPE_NAME").contains("Decimal"));
        expect(true, names(metadata.getFunctions(null, null, "%"), "FUNCTION_NAME").contains("sum"));
        names(metadata.getProcedures(null, null, "%"), "PROCEDURE_NAME");
        names(metadata.getTables(null, database, "%", null), "TABLE_NAME");
        names(metadata.getTables(null, database, "%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME");
        names(metadata.getColumns(null, database, "%", "%"), "COLUMN_NAME");
        names(metadata.getPrimaryKeys(null, database, "x"), "COLUMN_NAME");
        names(metadata.getIndexInfo(null, database, "x", false, true), "INDEX_NAME");
        names(metadata.getImportedKeys(null, database, "x"), "FKTABLE_NAME");
        names(metadata.getExportedKeys(null, database, "x"), "FKTABLE_NAME");
        expect(database,
            one(connection, "SELECT name FROM system.databases WHERE name = currentDatabase()"));
    }

    static void metadataOfTable(Connection connection) throws Exception {
        run(connection, "CREATE TABLE jdbc_described (id Int64 COMMENT 'the key', net Decimal(38, 4),"
            + " note Nullable(String)) ENGINE = MergeTree ORDER BY id");
        DatabaseMetaData metadata = connection.getMetaData();
        String[] kinds = names(metadata.getTableTypes(), "TABLE_TYPE").toArray(new String[0]);
        expect(true, names(metadata.getTables(null, database, "jdbc_described", kinds), "TABLE_NAME")
            .contains("jdbc_described"));
        expect(List.of("id", "net", "note"),
            names(metadata.getColumns(null, database, "jdbc_described", "%"), "COLUMN_NAME"));
        expect(List.of("the key", "", ""),
            names(metadata.getColumns(null, database, "jdbc_described", "%"), "REMARKS"));
        expect(List.of("id"),
            names(metadata.getPrimaryKeys(null, database, "jdbc_described"), "COLUMN_NAME"));
    }

    static void otherUsersQueries(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT query_id, user FROM system.processes")) {
            while (rows.next()) {
                expect(false, rows.getString(2).equals("default"));
            }
        }
    }
}
