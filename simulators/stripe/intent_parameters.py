"""The parameters of payment intents, as tables: name -> type. Pure."""

from collections.abc import Mapping

from simulators.stripe import parameters
from simulators.stripe.lists import PAGING
from simulators.stripe.methods import DATA, TYPES
from simulators.stripe.parameters import Check


def _types(name: str, value: object) -> list[str]:
    return [parameters.choice(*TYPES)(name, each) for each in parameters.texts(name, value)]


_FUTURE = parameters.choice("off_session", "on_session", "")
_CAPTURE_METHOD = parameters.choice("automatic", "automatic_async", "manual")
_IGNORED = dict.fromkeys(
    (
        "allowed_payment_method_types", "amount_details", "application_fee_amount",
        "customer_account", "excluded_payment_method_types", "hooks", "on_behalf_of",
        "payment_details", "payment_method_configuration", "radar_options", "transfer_data",
        "mandate", "mandate_data", "use_stripe_sdk", "client_secret", "confirmation_token",
    ),
    parameters.anything,
)  # fmt: skip
"""Parameters that Stripe has and that say nothing about a payment here."""


def _off_session(name: str, value: object) -> bool:
    return value in ("one_off", "recurring") or parameters.boolean(name, value)


_PAYING: Mapping[str, Check] = {
    "capture_method": _CAPTURE_METHOD,
    "payment_method": parameters.text,
    "payment_method_data": parameters.shape(DATA),
    "payment_method_options": parameters.hashes_by_name,
    "payment_method_types": _types,
    "receipt_email": parameters.optional_text,
    "setup_future_usage": _FUTURE,
    "shipping": parameters.hashed,
}
_DESCRIBING: Mapping[str, Check] = {
    "customer": parameters.optional_text,
    "description": parameters.optional_text,
    "metadata": parameters.metadata,
    "statement_descriptor": parameters.optional_text,
    "statement_descriptor_suffix": parameters.optional_text,
    "transfer_group": parameters.optional_text,
}
_CONFIRMING: Mapping[str, Check] = {
    "error_on_requires_action": parameters.boolean,
    "off_session": _off_session,
    "return_url": parameters.text,
}

CREATE: Mapping[str, Check] = {
    **_IGNORED,
    **_PAYING,
    **_DESCRIBING,
    **_CONFIRMING,
    "amount": parameters.positive,
    "automatic_payment_methods": parameters.shape(
        {
            "enabled": parameters.boolean,
            "allow_redirects": parameters.choice("always", "never"),
        },
        required=("enabled",),
    ),
    "confirm": parameters.boolean,
    "confirmation_method": parameters.choice("automatic", "manual"),
    "currency": parameters.text,
}
UPDATE: Mapping[str, Check] = {
    **_IGNORED,
    **_PAYING,
    **_DESCRIBING,
    "amount": parameters.positive,
    "currency": parameters.text,
}
CONFIRM: Mapping[str, Check] = {**_IGNORED, **_PAYING, **_CONFIRMING}
CAPTURE: Mapping[str, Check] = {
    "amount_details": parameters.anything,
    "amount_to_capture": parameters.positive,
    "application_fee_amount": parameters.anything,
    "final_capture": parameters.boolean,
    "hooks": parameters.anything,
    "metadata": parameters.metadata,
    "payment_details": parameters.anything,
    "statement_descriptor": parameters.optional_text,
    "statement_descriptor_suffix": parameters.optional_text,
    "transfer_data": parameters.anything,
}
CANCEL: Mapping[str, Check] = {
    "cancellation_reason": parameters.choice(
        "duplicate", "fraudulent", "requested_by_customer", "abandoned"
    ),
}
LIST: Mapping[str, Check] = {
    **PAGING,
    "customer": parameters.text,
    "customer_account": parameters.anything,
}

COPIED = (
    "capture_method", "confirmation_method", "customer", "description", "payment_method_options",
    "receipt_email", "setup_future_usage", "shipping", "statement_descriptor",
    "statement_descriptor_suffix", "transfer_group",
)  # fmt: skip
"""Parameters that are properties of the same name."""
