"""The HTML of the pages that a buyer sees; everything that varies is put in escaped."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 3rem auto; padding: 0 1rem;
  color: #1a1f36; background: #fff }}
label {{ display: block; margin-top: 1rem; font-weight: 600 }}
input {{ width: 100%; box-sizing: border-box; padding: .6rem; font: inherit;
  border: 1px solid #8792a2; border-radius: 4px }}
button {{ margin: 1.2rem .6rem 0 0; padding: .6rem 1.2rem; font: inherit; font-weight: 600;
  color: #fff; background: #4338ca; border: 0; border-radius: 4px; cursor: pointer }}
button.second {{ color: #4338ca; background: #eef2ff }}
.problem {{ padding: .6rem; color: #8b0000; background: #fdecea; border-radius: 4px }}
.note {{ margin-top: 2rem; color: #4f566b; font-size: .875rem }}
.row {{ display: flex; gap: 1rem }} .row > div {{ flex: 1 }}
</style>
</head>
<body>
<main>
{body}
</main>
<p class="note">This is a simulation of Stripe. No money moves: use Stripe's test cards.</p>
</body>
</html>
"""

CHECKOUT = """<h1>Pay {amount}</h1>
<ul>{items}</ul>
{problem}
<form method="post" action="">
<label for="card_number">Card number</label>
<input id="card_number" name="card_number" inputmode="numeric" autocomplete="cc-number"
 placeholder="4242 4242 4242 4242">
<div class="row">
<div><label for="card_expiry">Expiry (MM/YY)</label>
<input id="card_expiry" name="card_expiry" autocomplete="cc-exp" value="12/34"></div>
<div><label for="card_cvc">CVC</label>
<input id="card_cvc" name="card_cvc" inputmode="numeric" autocomplete="cc-csc" value="123"></div>
</div>
<label for="name">Name on card</label>
<input id="name" name="name" autocomplete="cc-name">
{bank}
<button id="pay" type="submit">Pay</button>
{cancel}
</form>
"""

SECURE = """<h1>3-D Secure</h1>
<p>Your bank asks whether you want to pay {amount}.</p>
<form method="post" action="{action}?{query}">
<button id="complete" type="submit" name="decision" value="complete">Complete</button>
<button id="fail" class="second" type="submit" name="decision" value="fail">Fail</button>
</form>
"""

NOTICE = "<h1>Stripe (simulated)</h1>\n<p>{text}</p>\n"
