"""The shapes of Stripe's objects: every property that an answer has, as it is at the start. Pure.

Source: the OpenAPI description that Stripe publishes; `tests/contract/stripe` compares both.
"""

from typing import Any

from simulators.stripe.store import Body


def address() -> Body:
    """An address of which nothing is known."""
    return dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def billing_details() -> Body:
    """Who pays, of whom nothing is known."""
    return {"address": address(), "email": None, "name": None, "phone": None, "tax_id": None}


def intent(identity: str, created: int, **given: Any) -> Body:
    """A payment intent."""
    return {
        "id": identity,
        "object": "payment_intent",
        "allowed_payment_method_types": None,
        "amount": 0,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": None,
        "confirmation_method": "automatic",
        "created": created,
        "currency": "",
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "managed_payments": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": [],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        **given,
    }


def charge(identity: str, created: int, **given: Any) -> Body:
    """A charge."""
    return {
        "id": identity,
        "object": "charge",
        "amount": 0,
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": billing_details(),
        "calculated_statement_descriptor": "PURSER SIMULATOR",
        "captured": False,
        "created": created,
        "currency": "",
        "customer": None,
        "description": None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": None,
        "payment_method": None,
        "payment_method_details": None,
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "pending",
        "transfer_data": None,
        "transfer_group": None,
        **given,
    }


def refund(identity: str, created: int, **given: Any) -> Body:
    """A refund."""
    return {
        "id": identity,
        "object": "refund",
        "amount": 0,
        "balance_transaction": None,
        "charge": None,
        "created": created,
        "currency": "",
        "customer": None,
        "customer_account": None,
        "destination_details": {},
        "metadata": {},
        "payment_intent": None,
        "payment_method": None,
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending",
        "transfer_reversal": None,
        **given,
    }


EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy",
    "cancellation_policy_disclosure", "cancellation_rebuttal", "customer_communication",
    "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
    "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_documentation", "shipping_tracking_number",
    "uncategorized_file", "uncategorized_text",
)  # fmt: skip
"""The names of evidence that is text."""


def dispute(identity: str, created: int, due_by: int, **given: Any) -> Body:
    """A dispute."""
    return {
        "id": identity,
        "object": "dispute",
        "amount": 0,
        "balance_transactions": [],
        "charge": None,
        "created": created,
        "currency": "",
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": due_by,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": None,
        "reason": "general",
        "status": "needs_response",
        **given,
    }


def transaction(identity: str, created: int, **given: Any) -> Body:
    """A balance transaction; `status` is what it is now, so it is not kept."""
    return {
        "id": identity,
        "object": "balance_transaction",
        "amount": 0,
        "available_on": created,
        "balance_type": "payments",
        "created": created,
        "currency": "",
        "description": None,
        "exchange_rate": None,
        "fee": 0,
        "fee_details": [],
        "net": 0,
        "reporting_category": "charge",
        "source": None,
        "type": "charge",
        **given,
    }


def payout(identity: str, created: int, **given: Any) -> Body:
    """A payout to the account's bank."""
    return {
        "id": identity,
        "object": "payout",
        "amount": 0,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": created,
        "automatic": True,
        "balance_transaction": None,
        "created": created,
        "currency": "",
        "description": "STRIPE PAYOUT",
        "destination": "ba_1PurserSimulatorBank",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "completed",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "pending",
        "trace_id": {"status": "pending", "value": None},
        "type": "bank_account",
        **given,
    }


def payment_method(identity: str, created: int, **given: Any) -> Body:
    """A payment method without what its type adds."""
    return {
        "id": identity,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(),
        "created": created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
        **given,
    }


def customer(identity: str, created: int, **given: Any) -> Body:
    """A customer."""
    return {
        "id": identity,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": created,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": identity[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        **given,
    }


def endpoint(identity: str, created: int, **given: Any) -> Body:
    """A webhook endpoint."""
    return {
        "id": identity,
        "object": "webhook_endpoint",
        "api_version": None,
        "application": None,
        "created": created,
        "description": None,
        "enabled_events": [],
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": "",
        **given,
    }


_SESSION_NULLS = (
    "after_expiration", "allow_promotion_codes", "billing_address_collection", "cancel_url",
    "client_reference_id", "client_secret", "collected_information", "consent",
    "consent_collection", "currency_conversion", "customer", "customer_account",
    "customer_details", "customer_email", "integration_identifier", "invoice", "invoice_creation",
    "locale", "managed_payments", "origin_context", "payment_intent", "payment_link",
    "payment_method_configuration_details", "permissions", "recovered_from",
    "saved_payment_method_options", "setup_intent", "shipping_address_collection",
    "shipping_cost", "submit_type", "subscription", "success_url", "url", "wallet_options",
)  # fmt: skip
_CUSTOM_TEXTS = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")


def session(identity: str, created: int, **given: Any) -> Body:
    """A checkout session."""
    return {
        "id": identity,
        "object": "checkout.session",
        **dict.fromkeys(_SESSION_NULLS),
        "adaptive_pricing": {"enabled": False},
        "amount_subtotal": 0,
        "amount_total": 0,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "created": created,
        "currency": "",
        "custom_fields": [],
        "custom_text": dict.fromkeys(_CUSTOM_TEXTS),
        "customer_creation": "if_required",
        "discounts": [],
        "expires_at": 0,
        "livemode": False,
        "metadata": {},
        "mode": "payment",
        "payment_method_collection": "if_required",
        "payment_method_options": {},
        "payment_method_types": [],
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        **given,
    }


def line_item(identity: str, **given: Any) -> Body:
    """One line of a checkout session."""
    return {
        "id": identity,
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": 0,
        "amount_tax": 0,
        "amount_total": 0,
        "currency": "",
        "description": None,
        "metadata": {},
        "price": None,
        "quantity": 1,
        **given,
    }
