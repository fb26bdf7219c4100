// Shows the cards that have the words that were typed, and the state that was chosen.
const filter = document.querySelector(".filter");
const words = filter.querySelector("input");
const state = filter.querySelector("select");
const cards = [...document.querySelectorAll("article")];
const texts = cards.map((card) => card.textContent.toLowerCase());
const show = () => {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  cards.forEach((card, i) => {
    const fits = state.value === "" || card.dataset.state === state.value;
    card.hidden = !fits || !wanted.every((word) => texts[i].includes(word));
    shown += !card.hidden;
  });
  filter.querySelector("output").textContent = `${shown} of ${cards.length} shown`;
};
filter.addEventListener("input", show);
filter.hidden = false;
show();
