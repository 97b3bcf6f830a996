// Stripe's SDK of another language, unchanged but for where it calls. Says how each check went.
import Stripe from "stripe";

const [host, port, key] = process.argv.slice(2);
const stripe = new Stripe(key, { host, port: Number(port), protocol: "http" });
const pay = { amount: 2500, currency: "eur", payment_method: "pm_card_visa", confirm: true };

const checks = {
  async payment() {
    const intent = await stripe.paymentIntents.create({ ...pay, expand: ["latest_charge"] });
    equal(intent.status, "succeeded");
    equal(intent.latest_charge.amount_captured, 2500);
  },
  async decline() {
    const error = await failure(
      stripe.paymentIntents.create({ ...pay, payment_method: "pm_card_chargeDeclined" }),
    );
    equal(error.type, "StripeCardError");
    equal(error.decline_code, "generic_decline");
    equal(error.payment_intent.status, "requires_payment_method");
  },
  async refund() {
    const intent = await stripe.paymentIntents.create(pay);
    const refund = await stripe.refunds.create({ payment_intent: intent.id, amount: 1000 });
    equal(refund.status, "succeeded");
  },
  async idempotency() {
    const options = { idempotencyKey: `node-${Date.now()}` };
    const [first, second] = [
      await stripe.paymentIntents.create(pay, options),
      await stripe.paymentIntents.create(pay, options),
    ];
    equal(second.id, first.id);
    equal(second.lastResponse.headers["idempotent-replayed"], "true");
    const error = await failure(stripe.paymentIntents.create({ ...pay, amount: 2600 }, options));
    equal(error.type, "StripeIdempotencyError");
  },
  async search() {
    const mark = `node-${Date.now()}`;
    const intent = await stripe.paymentIntents.create({ ...pay, metadata: { mark } });
    const found = await stripe.paymentIntents.search({ query: `metadata['mark']:'${mark}'` });
    equal(found.data[0].id, intent.id);
  },
  async paging() {
    const customer = (await stripe.customers.create({ email: "buyer@example.com" })).id;
    for (let number = 0; number < 5; number += 1) {
      await stripe.paymentIntents.create({ amount: 500, currency: "eur", customer });
    }
    let count = 0;
    for await (const _ of stripe.paymentIntents.list({ customer, limit: 2 })) count += 1;
    equal(count, 5);
  },
  async checkout() {
    const price_data = { currency: "eur", unit_amount: 900, product_data: { name: "Umbrella" } };
    const session = await stripe.checkout.sessions.create({
      mode: "payment",
      success_url: "https://shop.example/thanks",
      line_items: [{ quantity: 1, price_data }],
    });
    equal(session.amount_total, 900);
    equal((await fetch(session.url)).status, 200);
  },
  async events() {
    const events = await stripe.events.list({ types: ["payment_intent.succeeded"], limit: 3 });
    equal(events.data[0].data.object.object, "payment_intent");
  },
};

function equal(found, wanted) {
  if (found !== wanted) throw new Error(`${JSON.stringify(found)} instead of ${wanted}`);
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}

for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(name, "ok");
  } catch (error) {
    console.log(name, String(error).replaceAll("\n", " "));
  }
}
