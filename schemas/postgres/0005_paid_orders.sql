-- Which payments have paid an order: late money is honoured only if nothing else has
-- (payins/late.py). Only captures are in it: one entry for each order that was paid.

CREATE INDEX payments_paid_orders ON public.payments (order_id)
    WHERE event_type IN ('captured', 'honoured');
