-- Which payments are for an order, and have paid it: late money is honoured only if no other is or
-- has (payins/late.py). An order has one entry for each payment, and one for each time it was paid.

CREATE INDEX payments_of_orders ON public.payments (order_id)
    WHERE event_type IN ('created', 'captured', 'honoured', 'stray_captured');
