// The token is in the cookie by now: it stays in no history, and in no window's head.
history.replaceState(null, "", "/")

// Keys go to the terminal as soon as it listens, and to the button once it has ended.
addEventListener("load", () => {
  const again = document.querySelector("#again")
  const terminal = document.querySelector(".xterm-helper-textarea")
  const is = state => document.body.classList.contains(state)
  addEventListener("blur", event => is("-closed") && event.stopImmediatePropagation(), true)  // it would be told, and is gone
  again.addEventListener("click", () => location.reload())
  const observed = new MutationObserver(() => is("-closed") ? again.focus() : is("-loaded") && terminal.focus())
  observed.observe(document.body, { attributes: true, attributeFilter: ["class"] })
})
