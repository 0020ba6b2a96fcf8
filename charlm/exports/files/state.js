/* The state on the page: a cell for each unit, and a block of rows for each layer, the lowest layer first. */
"use strict";

const CELL_WIDTH = 11, BLOCK_GAP = 4;  // in pixels; cells may be wider

class StateView {
  constructor(canvas) {
    this.canvas = canvas;
    this.places = [];  // left and top of the cell of each unit
  }

  /** Draws a state with a frame around the chosen unit and a dot on units that are off. The colours range from -m to m,
      where m is the largest absolute value, at least 1. Returns m. */
  draw(state, { layers, units }, { chosen, off }) {
    const { canvas } = this, width = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    const rows = Math.ceil(units / Math.max(16, Math.floor(width / CELL_WIDTH))), columns = Math.ceil(units / rows);
    const cell = width / columns, height = Math.min(cell, 16), block = rows * height + BLOCK_GAP;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round((layers * block - BLOCK_GAP) * ratio);
    canvas.style.height = `${layers * block - BLOCK_GAP}px`;
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const [negative, zero, positive, ink] = ["--negative", "--zero", "--positive", "--ink"].map((name) => style.getPropertyValue(name));
    const largest = state.reduce((a, b) => Math.max(a, Math.abs(b)), 1);
    this.size = [cell, height];
    this.places = Array.from(state, (_, index) => {
      const unit = index % units;
      return [(unit % columns) * cell, Math.floor(index / units) * block + Math.floor(unit / columns) * height];
    });
    context.scale(ratio, ratio);
    context.fillStyle = zero;
    for (let layer = 0; layer < layers; layer++) context.fillRect(0, layer * block, width, block - BLOCK_GAP);
    state.forEach((value, index) => {
      context.globalAlpha = Math.min(1, Math.abs(value) / largest);
      context.fillStyle = value < 0 ? negative : positive;
      context.fillRect(...this.places[index], cell, height);
    });
    context.globalAlpha = 1;
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = 2;
    this.places.forEach(([left, top], index) => {
      if (off[index]) context.fillRect(left + cell / 2 - 2, top + height / 2 - 2, 4, 4);
      if (index === chosen) context.strokeRect(left, top, cell, height);
    });
    return largest;
  }

  /** Returns the unit of the cell under the pointer, or null. */
  unitAt({ offsetX: x, offsetY: y }) {
    const [width, height] = this.size;
    const index = this.places.findIndex(([left, top]) => x >= left && x < left + width && y >= top && y < top + height);
    return index < 0 ? null : index;
  }
}
