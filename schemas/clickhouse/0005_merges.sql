-- Small parts are merged twenty at a time instead of five. ClickHouse counts every part below 5 MiB
-- as of about one size, so with five a table of some thousand rows was rewritten by every fifth
-- flush: 43 rows merged for each row that came in, a third of the server's CPU under light load.
-- More parts lie side by side meanwhile, at most some tens, and the settings only hold for merges
-- to come: the statements can be run again at any time.

ALTER TABLE payment_events MODIFY SETTING merge_selector_base = 20;
ALTER TABLE ledger_entries MODIFY SETTING merge_selector_base = 20;
ALTER TABLE buyer_orders MODIFY SETTING merge_selector_base = 20;
ALTER TABLE payouts MODIFY SETTING merge_selector_base = 20;
ALTER TABLE seller_revenue MODIFY SETTING merge_selector_base = 20;
ALTER TABLE pipeline_progress MODIFY SETTING merge_selector_base = 20;
